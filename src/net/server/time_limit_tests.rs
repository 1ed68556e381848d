//! What the time limits of a connection count: a TLS handshake has its own, which is shorter than
//! that of headers, and none counts the wait for a seat.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::{serving::HANDSHAKE, *};
use crate::{config::Secret, net::tls::ServerTls};

struct Nobody;

impl Service for Nobody {
    async fn serve(self: Arc<Self>, _: Request<Incoming>, _: Arc<Connection>) -> Response<Reply> {
        unreachable!("no handshake ends")
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_has_ten_seconds() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = ServerTls {
        cert_pem: Some(made.cert.pem()),
        key_pem: Some(Secret::new(made.signing_key.serialize_pem())),
        ..ServerTls::default()
    };
    let acceptor = Arc::new(Acceptor::new(tls).unwrap());
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    let tuning = Tuning::default();
    assert!(tuning.header_timeout > HANDSHAKE);
    let serving = run(listener.into(), Some(acceptor), Arc::new(Nobody), tuning, stopped);
    let _serving = tokio::spawn(serving);
    let mut client = TcpStream::connect(address).await.unwrap();
    // The beginning of a ClientHello.
    client.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]).await.unwrap();
    let begin = Instant::now();
    let mut said = Vec::new();
    let _ = client.read_to_end(&mut said).await;
    assert_eq!(begin.elapsed().as_secs(), HANDSHAKE.as_secs());
}

/// Answers when it may.
#[derive(Default)]
struct Slow {
    asked: Notify,
    may_answer: Notify,
}

impl Service for Slow {
    async fn serve(self: Arc<Self>, _: Request<Incoming>, _: Arc<Connection>) -> Response<Reply> {
        self.asked.notify_one();
        self.may_answer.notified().await;
        Response::new(Reply::new("answer"))
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_asked_may_wait_for_a_seat_for_longer_than_headers_may_take() {
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopped) = watch::channel(false);
    let tuning = Tuning { max_connections: 1, ..Tuning::default() };
    let limit = tuning.header_timeout;
    let service = Arc::new(Slow::default());
    let _serving = tokio::spawn(run(listener.into(), None, Arc::clone(&service), tuning, stopped));
    let ask = async || {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
        client
    };
    let mut first = ask().await;
    service.asked.notified().await;
    let mut second = ask().await;
    tokio::time::sleep(2 * limit).await;
    for client in [&mut first, &mut second] {
        service.may_answer.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("answer"), "{answer}");
    }
}
