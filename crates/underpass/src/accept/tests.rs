use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;

/// Counts what it is told.
#[derive(Clone, Default)]
struct Recorder {
    exhausted: Arc<AtomicUsize>,
    panicked: Arc<AtomicUsize>,
    stopping: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
}

impl Recorder {
    fn counts(&self) -> [usize; 4] {
        [&self.exhausted, &self.panicked, &self.stopping, &self.cut]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

impl AcceptPolicy for Recorder {
    fn exhausted(&self) -> bool {
        self.exhausted.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn panicked(&self) {
        self.panicked.fetch_add(1, Ordering::Relaxed);
    }

    fn stopping(&self) {
        self.stopping.fetch_add(1, Ordering::Relaxed);
    }

    fn cut(&self, connections: usize) {
        self.cut.fetch_add(connections, Ordering::Relaxed);
    }
}

/// Answers `A` to `a`, and panics at anything else.
async fn answer(opening: Ready<io::Result<TcpStream>>) {
    let mut socket = opening.await.unwrap();
    let mut said = [0];
    socket.read_exact(&mut said).await.unwrap();
    assert_eq!(said, *b"a", "on purpose");
    socket.write_all(b"A").await.unwrap();
}

/// The answer to `word`.
async fn reply_to(listener: std::net::SocketAddr, word: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(listener).await.unwrap();
    socket.write_all(word).await.unwrap();
    let mut answer = Vec::new();
    // A reset counts as no answer.
    let _ = socket.read_to_end(&mut answer).await;
    answer
}

#[tokio::test(flavor = "current_thread")]
async fn a_panic_gives_its_place_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let policy = Recorder::default();
    let accepting = AcceptLoop::new(listener, policy.clone()).limit(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { _ = stopped.await };
    let running = accepting.run(stopped, pending(), answer);
    let clients = async {
        for word in [b"x", b"a", b"x", b"a"] {
            let answer = reply_to(address, word).await;
            assert_eq!(answer == b"A", word == b"a");
        }
        stop.send(()).unwrap();
    };
    tokio::join!(running, clients);
    assert_eq!(policy.counts(), [0, 2, 1, 0]);
}

/// Says that descriptors have run out, then that a connection was aborted, and then nothing.
struct Failing(std::vec::IntoIter<Errno>);

impl Listener for Failing {
    type Socket = TcpStream;
    type Opening = Ready<io::Result<TcpStream>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        match self.0.next() {
            Some(errno) => Err(errno.into()),
            None => pending().await,
        }
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn only_exhaustion_is_told() {
    let errors = vec![
        Errno::MFILE,
        Errno::CONNABORTED,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
    ];
    let policy = Recorder::default();
    let accepting = AcceptLoop::new(Failing(errors.into_iter()), policy.clone());
    // The clock stands still until everything else waits.
    let stop = tokio::time::sleep(EXHAUSTION_PAUSE);
    accepting.run(stop, pending(), |_| async {}).await;
    assert_eq!(policy.counts(), [4, 0, 1, 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn connections_that_do_not_end_are_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let client = client.await.unwrap();
    let policy = Recorder::default();
    let (served, serving) = oneshot::channel::<()>();
    let served = std::sync::Mutex::new(Some(served));
    let serve = |opening: Ready<io::Result<TcpStream>>| {
        let served = served.lock().unwrap().take();
        async move {
            let _socket = opening.await.unwrap();
            drop(served);
            pending::<()>().await;
        }
    };
    let stop = async { _ = serving.await };
    let accepting = AcceptLoop::new(listener, policy.clone());
    accepting.run(stop, std::future::ready(()), serve).await;
    assert_eq!(policy.counts(), [0, 0, 1, 1]);
    client.readable().await.unwrap();
    assert_eq!(client.try_read(&mut [0]).unwrap(), 0);
}
