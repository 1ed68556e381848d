//! `skep top` on a terminal: reads counters and keys, and draws. The terminal is as it was again
//! after the end, a signal or a panic.
//!
//! Keys are read on a thread of its own, since a terminal can only be waited for by blocking. A
//! process that is gone is asked again and again: it may be restarted.

use std::{thread::JoinHandle, time::Duration};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    Arguments, Reader,
    draw::draw,
    rows::Reading,
    view::{Action, Key, View},
};
use crate::{
    admin::proto::{TapEnd, TapRequest, TapResponse},
    cli::{control::Patience, screen, tap},
};

/// How long the thread that reads keys may go on after the end.
const POLL: Duration = Duration::from_millis(100);

/// Shows the screen until somebody quits.
pub(super) async fn run(mut reader: Reader<'_>, arguments: &Arguments) -> Result<u8, Status> {
    // What is wrong at the start is told on the terminal as it is.
    let first = reader.read().await?;
    let mut view = View::new(screen::wants_color());
    view.read(first);
    // It also makes a panic put the terminal back.
    let mut terminal = ratatui::try_init()
        .map_err(|error| Status::internal(format!("the terminal cannot be used: {error}")))?;
    let (keys, thread) = keys();
    let mut session = Session { view, terminal: &mut terminal, tap: None, keys };
    let result = session.until_the_end(reader, arguments.interval).await;
    drop(session);
    ratatui::restore();
    let _ = thread.join();
    result
}

/// What comes from the terminal.
enum Input {
    Key(Key),
    /// Another size.
    Resized,
}

/// Reads keys until nobody wants them any more.
fn keys() -> (mpsc::Receiver<Input>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(16);
    let thread = std::thread::spawn(move || {
        while !sender.is_closed() {
            let input = match event::poll(POLL) {
                Ok(false) => continue,
                Ok(true) => event::read().ok().and_then(|event| input(&event)),
                // The terminal is gone.
                Err(_) => return,
            };
            if let Some(input) = input
                && sender.blocking_send(input).is_err()
            {
                return;
            }
        }
    });
    (receiver, thread)
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key_of(*key).map(Input::Key),
        Event::Resize(..) => Some(Input::Resized),
        _ => None,
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Key::Interrupt,
        KeyCode::Char(_) if is_control => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// A tap that is open.
struct OpenTap {
    stream: Streaming<TapResponse>,
    component: String,
    watched: tap::Watched,
}

struct Session<'t> {
    view: View,
    terminal: &'t mut DefaultTerminal,
    tap: Option<OpenTap>,
    keys: mpsc::Receiver<Input>,
}

/// Waits and reads; gives the reader back with what it has read.
async fn next(mut reader: Reader<'_>, interval: Duration) -> (Reader<'_>, Result<Reading, Status>) {
    tokio::time::sleep(interval).await;
    let limit = interval.max(Duration::from_secs(2));
    let read = tokio::time::timeout(limit, reader.read()).await;
    let reading = read.unwrap_or_else(|_| Err(Status::unavailable("it takes too long")));
    (reader, reading)
}

/// The next message of a tap; never, if none is open.
async fn next_of(tap: &mut Option<OpenTap>) -> Result<Option<TapResponse>, Status> {
    match tap {
        Some(tap) => tap.stream.message().await,
        None => std::future::pending().await,
    }
}

impl Session<'_> {
    async fn until_the_end(
        &mut self,
        reader: Reader<'_>,
        interval: Duration,
    ) -> Result<u8, Status> {
        let mut ended = std::pin::pin!(signalled());
        let mut client = reader.client.clone();
        let endpoint = reader.endpoint;
        let mut reading = Box::pin(next(reader, interval));
        loop {
            let view = &self.view;
            let drawn = self.terminal.draw(|frame| draw(frame, view));
            drawn.map_err(|error| Status::internal(format!("the terminal is gone: {error}")))?;
            tokio::select! {
                (reader, result) = &mut reading => {
                    self.take_reading(result);
                    reading = Box::pin(next(reader, interval));
                }
                input = self.keys.recv() => match input {
                    None => return Ok(0),
                    Some(Input::Resized) => {}
                    Some(Input::Key(key)) => match self.view.press(key) {
                        Action::Draw => {}
                        Action::Quit => return Ok(0),
                        Action::EndTap => self.tap = None,
                        Action::Tap { pipeline, component } => {
                            let request =
                                TapRequest { pipeline, component, ..TapRequest::default() };
                            let open = client.tap(request.clone());
                            let opened = Patience::short(endpoint).wait(open).await;
                            self.open(&request.component, opened.map(tonic::Response::into_inner));
                        }
                    },
                },
                message = next_of(&mut self.tap) => self.take_message(message),
                () = &mut ended => return Ok(0),
            }
        }
    }

    fn take_reading(&mut self, result: Result<Reading, Status>) {
        match result {
            Ok(reading) => self.view.read(reading),
            Err(status) => self.view.lost = Some(status.message().to_owned()),
        }
    }

    fn open(&mut self, component: &str, opened: Result<Streaming<TapResponse>, Status>) {
        match opened {
            Ok(stream) => {
                let watched = tap::Watched::default();
                // Without the kind, as the lines name it.
                let id = component.split_once(' ').map_or(component, |(_, id)| id).to_owned();
                self.tap = Some(OpenTap { stream, component: id, watched });
            }
            Err(status) => self.end_of_tap(status.message()),
        }
    }

    fn take_message(&mut self, message: Result<Option<TapResponse>, Status>) {
        let Some(tap) = &mut self.tap else { return };
        let Ok(Some(message)) = message else {
            tap.watched.lost();
            let summary = tap.watched.summary();
            return self.end_of_tap(&summary);
        };
        tap.watched.note(message.counts.unwrap_or_default());
        let is_over = message.end() != TapEnd::Unspecified;
        if is_over {
            tap.watched.ended(message.end());
        }
        let summary = tap.watched.summary();
        let columns = self.terminal.size().map_or(80, |size| size.width.into());
        if let Some(pane) = &mut self.view.tap {
            for item in &message.items {
                pane.push(tap::plain_line(item, &tap.component, columns));
            }
        }
        if is_over {
            return self.end_of_tap(&summary);
        }
        if let Some(pane) = &mut self.view.tap {
            pane.summary = summary;
        }
    }

    /// The pane stays, with the reason.
    fn end_of_tap(&mut self, words: &str) {
        self.tap = None;
        if let Some(pane) = &mut self.view.tap {
            pane.summary = crate::config::shown::escaped(words).into_owned();
        }
    }
}

/// Ends when the process is told to end.
#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let all = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let mut signals: Vec<_> = all.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    std::future::poll_fn(|cx| {
        let is_ready = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(not(unix))]
async fn signalled() {
    let _ = tokio::signal::ctrl_c().await;
}
