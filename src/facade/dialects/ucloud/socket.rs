//! One socket: calls, each with its own token, and at most one stream of news. Frames are read in order, calls run
//! beside each other. Whoever does not read what is said to them is dropped, and so is whoever does not come up with a
//! token that is accepted: opening a socket needs none, and places are few.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinSet,
    time::{Duration, Instant, Interval, interval_at, sleep_until},
};

use super::{
    calls::{Called, Sent, Topic, answer},
    frames::{KEEP_ALIVE, Request, response, unknown},
    listen::{Form, Listening},
};
use crate::{
    crd::Task,
    facade::{
        access::{AccessError, Caller},
        refusal::Refusal,
        sockets::{Gone, Socket},
        state::Facade,
        views::Change,
    },
};

/// Calls of one socket at once; more wait on the wire.
const CALLS: usize = 8;
/// Time between two signs of life.
const PING: Duration = Duration::from_secs(60);

/// Speaks until the other side leaves, stops reading, or the facade is told to stop.
pub async fn speak(facade: Facade, socket: Socket, topic: Topic) {
    let recheck = facade.config.recheck;
    let session = Session {
        topic,
        socket,
        calls: JoinSet::new(),
        news: None,
        asked: 0,
        known: Arc::default(),
        recheck: interval_at(Instant::now() + recheck, recheck),
        facade,
    };
    session.run().await;
}

type Changes = broadcast::Receiver<Change<Task>>;

/// What a call came to.
enum Done {
    /// It is answered.
    Answered(String),
    /// News is to follow. Of two that are asked for, the later counts, whichever is granted first.
    Listens(u64, Box<Listening>, Changes),
}

struct Session {
    facade: Facade,
    topic: Topic,
    socket: Socket,
    calls: JoinSet<Done>,
    /// The number of its call, who listens, and what has changed since.
    news: Option<(u64, Box<Listening>, Changes)>,
    /// Streams of news that were asked for.
    asked: u64,
    /// Somebody has shown who they are.
    known: Arc<AtomicBool>,
    recheck: Interval,
}

impl Session {
    async fn run(mut self) {
        let shutdown = self.facade.shutdown.clone();
        let mut pings = interval_at(Instant::now() + PING, PING);
        let deadline = Instant::now() + self.facade.config.body_timeout();
        loop {
            let room = self.calls.len() < CALLS;
            let unknown = !self.known.load(Ordering::Relaxed);
            let said = tokio::select! {
                text = self.socket.hear(), if room => match text {
                    Ok(text) => self.take(&text).await,
                    Err(gone) => Err(gone),
                },
                Some(done) = self.calls.join_next() => match done {
                    Ok(done) => self.finish(done).await,
                    // It panicked, and the panic was logged.
                    Err(_) => Ok(()),
                },
                change = next(&mut self.news) => match change {
                    Ok(change) => self.tell(&change).await,
                    Err(gone) => Err(gone),
                },
                _ = pings.tick() => self.socket.say(KEEP_ALIVE.to_owned()).await,
                _ = self.recheck.tick() => self.look_again().await,
                () = sleep_until(deadline), if unknown => return self.socket.close().await,
                () = shutdown.cancelled() => return self.socket.close().await,
            };
            if said.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, text: &str) -> Result<(), Gone> {
        let Some(request) = Request::parse(text) else {
            return Ok(());
        };
        let (facade, known) = (self.facade.clone(), self.known.clone());
        match self.topic.call(&request.call) {
            None => return self.socket.say(unknown(&request.stream_id)).await,
            Some(Called::Once(call)) => self.calls.spawn(async move {
                let stream = request.stream_id;
                let limit = facade.config.request_timeout;
                let answered = async {
                    let caller = caller(&facade, request.bearer.as_deref(), &known).await?;
                    answer(&facade, caller, call, Sent::Json(request.payload.into())).await
                };
                let outcome = tokio::time::timeout(limit, answered).await;
                let slow = |_| Err(Refusal::Unavailable("the answer took too long".to_owned()));
                Done::Answered(response(&stream, &outcome.unwrap_or_else(slow)))
            }),
            Some(Called::Listen(form)) => {
                // From now on, and not from when the caller is known: what comes meanwhile is not missed.
                let changes = facade.views.tasks.changes();
                self.asked += 1;
                let asked = self.asked;
                self.calls.spawn(async move {
                    let listening = listening(facade, &request, form, &known).await;
                    match listening {
                        Ok(listening) => Done::Listens(asked, Box::new(listening), changes),
                        Err(refusal) => Done::Answered(response(&request.stream_id, &Err(refusal))),
                    }
                })
            }
        };
        Ok(())
    }

    async fn finish(&mut self, done: Done) -> Result<(), Gone> {
        match done {
            Done::Answered(frame) => self.socket.say(frame).await,
            Done::Listens(asked, listening, changes) => {
                if self.news.as_ref().is_none_or(|(earlier, ..)| *earlier < asked) {
                    self.news = Some((asked, listening, changes));
                }
                Ok(())
            }
        }
    }

    async fn tell(&mut self, change: &Change<Task>) -> Result<(), Gone> {
        let Some((_, listening, _)) = &mut self.news else {
            return Ok(());
        };
        for frame in listening.frames(change).await {
            self.socket.say(frame).await?;
        }
        Ok(())
    }

    async fn look_again(&mut self) -> Result<(), Gone> {
        let Some((_, listening, _)) = &mut self.news else {
            return Ok(());
        };
        let Err(refusal) = listening.recheck().await else {
            return Ok(());
        };
        let frame = response(listening.stream(), &Err(refusal));
        self.news = None;
        self.socket.say(frame).await
    }
}

async fn listening(
    facade: Facade,
    request: &Request,
    form: Form,
    known: &AtomicBool,
) -> Result<Listening, Refusal> {
    let caller = caller(&facade, request.bearer.as_deref(), known).await?;
    Listening::new(facade, request.stream_id.clone(), form, caller).await
}

async fn caller(facade: &Facade, bearer: Option<&str>, known: &AtomicBool) -> Result<Arc<Caller>, Refusal> {
    let token = bearer.ok_or(AccessError::NoToken)?;
    let caller = facade.access.authenticate(token).await?;
    known.store(true, Ordering::Relaxed);
    Ok(caller)
}

/// The next change, for ever where nobody listens. A listener that fell too far behind is dropped: it comes again and
/// asks for what there is.
async fn next(news: &mut Option<(u64, Box<Listening>, Changes)>) -> Result<Change<Task>, Gone> {
    let Some((_, _, changes)) = news else {
        return std::future::pending().await;
    };
    match changes.recv().await {
        Ok(change) => Ok(change),
        Err(RecvError::Lagged(missed)) => {
            tracing::warn!(missed, "a listener is too slow and is dropped");
            Err(Gone)
        }
        Err(RecvError::Closed) => Err(Gone),
    }
}
