//! A listener that is handed over: clients of the old one are served, and told to connect again.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

use super::*;

struct Says(&'static str);

impl Service for Says {
    async fn serve(self: Arc<Self>, _: Request<Incoming>, _: Arc<Connection>) -> Response<Reply> {
        tokio::task::yield_now().await;
        Response::new(Reply::new(self.0))
    }
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 1024];
    let mut text = String::new();
    while !(text.ends_with("old") || text.ends_with("new")) {
        let len = stream.read(&mut buffer).await.unwrap();
        assert!(len > 0, "the connection ended: {text}");
        text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
    text
}

#[tokio::test]
async fn http1_clients_are_answered_once_more_and_told_to_close() {
    let any = ([127, 0, 0, 1], 0).into();
    let mut sockets = Sockets::default();
    let old = sockets.tcp(any).unwrap();
    let address = old.address();
    let (held, _) = sockets.finish();
    let mut sockets = Sockets::with(held.clone());
    let new = sockets.tcp(any).unwrap();
    let (successor, _) = sockets.finish();
    let (stop_old, stopped) = watch::channel(false);
    let serving = run(old, None, Arc::new(Says("old")), Tuning::default(), stopped);
    let serving = tokio::spawn(serving);
    let mut used = TcpStream::connect(&address).await.unwrap();
    assert!(ask(&mut used).await.ends_with("old"));
    let mut unused = TcpStream::connect(&address).await.unwrap();
    // Accepted before the next one, whose answer proves it.
    let mut third = TcpStream::connect(&address).await.unwrap();
    ask(&mut third).await;
    successor[0].take_over();
    stop_old.send(true).unwrap();
    let (_stop_new, stopped) = watch::channel(false);
    tokio::spawn(run(new, None, Arc::new(Says("new")), Tuning::default(), stopped));
    tokio::time::sleep(Duration::from_millis(20)).await;
    for stream in [&mut used, &mut unused] {
        let answer = ask(stream).await;
        assert!(answer.ends_with("old") && answer.contains("connection: close"), "{answer}");
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    }
    let mut next = TcpStream::connect(&address).await.unwrap();
    let answer = ask(&mut next).await;
    assert!(answer.ends_with("new") && !answer.contains("connection: close"), "{answer}");
    assert!(!serving.is_finished(), "one more may ask");
    held[0].successor().send_replace(false);
    serving.await.unwrap();
    assert_eq!(third.read(&mut [0; 9]).await.unwrap(), 0, "there is no more patience");
}
