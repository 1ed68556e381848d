//! Passwords and keys do not leave; databases and servers are where the span says.

use super::*;

#[test]
fn databases_have_their_address_and_no_password() {
    let sql = |of: Value| {
        let document = one(span(CLIENT, true, &of));
        let default = document["metadata"]["default"].clone();
        (document["sql"]["connection_string"].clone(), default)
    };
    let nothing = Value::Null;
    assert_eq!(
        sql(json!({"db.system": "mysql", "db.name": "orders",
            "db.connection_string": "mysql+pymysql://shop:s3cret@db.example:3306/orders"})),
        (json!("mysql+pymysql://shop:REDACTED@db.example:3306/orders"), nothing.clone()),
    );
    assert_eq!(
        sql(
            json!({"db.system.name": "postgresql", "db.namespace": "shop", "server.address": "db.example",
            "server.port": 5432})
        ),
        (json!("db.example:5432/shop"), nothing.clone()),
    );
    assert_eq!(
        sql(
            json!({"db.system.name": "postgresql", "db.namespace": "shop", "server.address": "db.example",
            "network.peer.port": 6432})
        ),
        (json!("db.example/shop"), json!({"network.peer.port": 6432})),
    );
    assert_eq!(
        sql(
            json!({"db.system": "mssql", "db.name": "shop", "db.connection_string": "Server=h;Password=s3cret;Database=shop"})
        ),
        (json!("Server=h;Password=REDACTED;Database=shop"), nothing.clone()),
    );
    assert_eq!(
        sql(
            json!({"db.system": "mssql", "db.name": "shop", "db.connection_string": "Server=h;Password=s3cret"})
        ),
        (json!("Server=h;Password=REDACTED"), json!({"db.name": "shop"})),
    );
    assert_eq!(
        sql(
            json!({"db.system": "mysql", "db.name": "shop", "db.connection_string": "jdbc:mysql://h:1/?password=s3cret"})
        ),
        (json!("jdbc:mysql://h:1/shop?password=REDACTED"), nothing),
    );
    assert_eq!(
        sql(
            json!({"db.system": "mysql", "db.name": "shop", "db.connection_string": "h:1", "net.peer.name": "::1"})
        ),
        (json!("h:1/shop"), json!({"net.peer.name": "::1"})),
    );
}

/// The connection may go to a proxy.
#[test]
fn the_port_of_a_connection_is_not_that_of_a_server_with_a_name() {
    let call = |of: Value| one(span(CLIENT, true, &of));
    assert_has(
        &call(json!({"http.request.method": "GET", "server.address": "api.test", "url.path": "/a",
            "network.peer.address": "10.0.0.9", "network.peer.port": 3128})),
        &json!({"http > request > url": "http://api.test/a", "metadata > default > network.peer.port": 3128}),
    );
    assert_has(
        &call(
            json!({"http.request.method": "GET", "url.path": "/a", "network.peer.address": "10.0.0.9",
            "network.peer.port": 3128}),
        ),
        &json!({"http > request > url": "http://10.0.0.9:3128/a"}),
    );
}

#[test]
fn secrets_are_nowhere_in_documents() {
    let mut settings = Settings::default();
    settings.index(["http.url", "db.connection_string", "http.target"]);
    let spans = [
        json!({"http.method": "GET", "http.url": "https://ann:s3cret@h/a?api_key=s3cret", "url.full": "https://s3cret@h/"}),
        json!({"http.method": "GET", "http.host": "ann:s3cret@h", "http.target": "/a?token=s3cret"}),
        json!({"url.scheme": "http", "server.address": "h", "url.path": "/", "url.query": "token=s3cret"}),
        json!({"http.status_code": 200, "http.target": "/a?password=s3cret"}),
        json!({"db.system": "mysql", "db.connection_string": "mysql://u:s3cret@h/d"}),
        json!({"db.system": "redis", "db.connection_string": "redis://:s3cret@h/0"}),
        json!({"db.system": "mysql", "server.address": "u:s3cret@h"}),
        json!({"rpc.system": "aws-api", "messaging.url": "https://u:s3cret@q/1"}),
    ];
    for own in spans {
        let of = Span { name: "GET https://ann:s3cret@h/".to_owned(), ..span(CLIENT, true, &own) };
        let document = all(&settings, &json!({}), of.clone())[0].to_string();
        assert!(!document.contains("s3cret") && document.contains("REDACTED"), "{document}");
        let native = native_text(&payload(&json!({}), vec![of]));
        assert!(!native.contains("s3cret"), "{native}");
    }
    let document =
        &all(&settings, &json!({}), span(CLIENT, true, &json!({"http.url": "https://u:p@h/"})))[0];
    assert_has(
        document,
        &json!({"annotations > http.url": "https://REDACTED:REDACTED@h/",
            "http > request > url": "https://REDACTED:REDACTED@h/"}),
    );
}
