//! `sql` of a segment. The connection is the one in the span, without passwords; nothing is
//! guessed.

use std::borrow::Cow;

use super::{
    attributes::{Attributes, Known},
    secrets,
    trim::Trim,
};
use crate::exporters::json::Json;

/// Systems whose statements are SQL.
const SQL: [&[u8]; 12] = [
    b"db2",
    b"derby",
    b"hive",
    b"mariadb",
    b"mssql",
    b"mysql",
    b"oracle",
    b"postgresql",
    b"sqlite",
    b"teradata",
    b"other_sql",
    b"microsoft.sql_server",
];

/// `sql` of a segment.
#[derive(Debug)]
pub(super) struct Sql<'a> {
    system: &'a [u8],
    connection: Option<Vec<u8>>,
    statement: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
}

impl<'a> Sql<'a> {
    pub(super) fn take(attributes: &mut Attributes<'a>) -> Option<Self> {
        use Known as K;
        let (old, new) = (attributes.text(K::DbSystem), attributes.text(K::DbSystemName));
        old.or(new).filter(|system| SQL.contains(system))?;
        Some(Sql {
            system: attributes.take_first(&[K::DbSystem, K::DbSystemName])?,
            connection: connection(attributes),
            statement: attributes.take_first(&[K::DbStatement, K::DbQueryText]),
            user: attributes.take_text(K::DbUser),
        })
    }

    pub(super) fn write(&self, json: &mut Json, name: &[u8], trim: Trim) {
        json.begin_at("sql");
        json.text_at("url", name);
        if let Some(connection) = &self.connection {
            json.text_at("connection_string", connection);
        }
        json.text_at("database_type", self.system);
        if let Some(user) = self.user {
            json.text_at("user", user);
        }
        if let Some(statement) = self.statement.filter(|_| !trim.cuts_sql()) {
            json.text_at("sanitized_query", statement);
        }
        json.end();
    }
}

const NAMES: [Known; 2] = [Known::DbName, Known::DbNamespace];

/// Takes its attributes. Returns `None` if the span does not say where the database is.
fn connection(attributes: &mut Attributes<'_>) -> Option<Vec<u8>> {
    let name = NAMES.iter().find_map(|known| attributes.text(*known)).unwrap_or_default();
    let Some(said) = attributes.take_text(Known::DbConnectionString) else {
        let mut connection = server(attributes)?;
        if !name.is_empty() {
            connection.push(b'/');
            connection.extend_from_slice(name);
            attributes.take_same(&NAMES, |text| text == name);
        }
        return Some(connection);
    };
    let connection = secrets::connection(said);
    if shows(&connection, name) {
        attributes.take_same(&NAMES, |text| text == name);
        return Some(connection.into_owned());
    }
    let Some(end) = path_place(&connection).filter(|_| !name.is_empty()) else {
        return Some(connection.into_owned());
    };
    attributes.take_same(&NAMES, |text| text == name);
    let (before, after) = connection.split_at(end);
    Some([before.strip_suffix(b"/").unwrap_or(before), b"/", name, after].concat())
}

/// `host:port`, from the attributes of the server.
fn server(attributes: &mut Attributes<'_>) -> Option<Vec<u8>> {
    use Known as K;
    let hosts = [K::ServerAddress, K::NetPeerName, K::NetPeerIp, K::NetworkPeerAddress];
    let found = hosts.iter().position(|known| attributes.text(*known).is_some())?;
    let said = attributes.text(hosts[found])?;
    attributes.take_same(&hosts, |text| text == said);
    let host = match secrets::connection(said) {
        Cow::Owned(host) => host,
        Cow::Borrowed(host) if is_ipv6(host) => [b"[", host, b"]"].concat(),
        Cow::Borrowed(host) => host.to_vec(),
    };
    // The port of the connection belongs to its address; there may be a proxy in front of the
    // server.
    let ports = [K::ServerPort, K::NetPeerPort, K::NetworkPeerPort];
    let port = attributes.take_first_int(if found < 2 { &ports[..2] } else { &ports });
    match port {
        Some(port) => {
            Some([&host, &b":"[..], itoa::Buffer::new().format(port).as_bytes()].concat())
        }
        None => Some(host),
    }
}

fn is_ipv6(host: &[u8]) -> bool {
    let host = std::str::from_utf8(host).ok();
    host.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Whether the name is a part of a connection: of a path, or the value of a key.
fn shows(connection: &[u8], name: &[u8]) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| b"/=:;?&, ()'\"".contains(byte));
    // It is not the host of `orders:3306` or `mysql://orders:3306`.
    let is_before = |at: usize| {
        at > 0 && is_edge(connection.get(at - 1)) && connection[..at].last() != Some(&b' ')
    };
    let is_host = |at: usize| connection[..at].ends_with(b"//");
    !name.is_empty()
        && memchr::memmem::find_iter(connection, name)
            .any(|at| is_before(at) && !is_host(at) && is_edge(connection.get(at + name.len())))
}

/// Returns the position at which a connection string without a database name takes one. That is the
/// end of `host:port` or of `scheme://host`, before any `?`.
fn path_place(connection: &[u8]) -> Option<usize> {
    let end = connection.iter().position(|byte| *byte == b'?').unwrap_or(connection.len());
    let start = memchr::memmem::find(connection, b"://").map_or(0, |at| at + 3);
    let host = connection.get(start..end)?;
    let host = host.strip_suffix(b"/").unwrap_or(host);
    let is_bare = !host.iter().any(|byte| b"/=; ()".contains(byte));
    is_bare.then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_where_they_stand_as_a_whole() {
        for (connection, shown) in [
            ("mysql://u:REDACTED@h:1/shop", true),
            ("Server=h;Database=shop;", true),
            ("host=h dbname=shop", true),
            ("jdbc:oracle:thin:@h:1521:shop", true),
            ("mysql://shop:3306", false),
            ("h/shopping", false),
            ("shop", false),
        ] {
            assert_eq!(shows(connection.as_bytes(), b"shop"), shown, "{connection}");
        }
        for (connection, end) in [
            ("h:1", Some(3)),
            ("mysql://h/?a=b", Some(10)),
            ("mysql://h/other", None),
            ("Server=h;", None),
        ] {
            assert_eq!(path_place(connection.as_bytes()), end, "{connection}");
        }
    }
}
