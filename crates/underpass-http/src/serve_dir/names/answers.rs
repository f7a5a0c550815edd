//! Names of a store: what one lookup has learnt of them so far, and what it has to ask for.

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use rustix::io::Errno;

use super::Names;
use crate::file::{IN_MEMORY_UP_TO, Wait, is_missing};
use crate::objects::{FoundObject, Object, Objects, StoreError};
use crate::sys::OpenFile;

/// What the store has said to one lookup.
pub(in crate::serve_dir) struct Answers {
    state: Mutex<State>,
    /// The first bytes of what is opened are wanted.
    to_read: bool,
}

#[derive(Default)]
struct State {
    objects: HashMap<Vec<u8>, io::Result<Arc<dyn Object>>>,
    directories: HashMap<Vec<u8>, bool>,
    /// Names of objects whose content, or the beginning of it, was fetched.
    fetched: HashSet<Vec<u8>>,
    questions: Vec<Question>,
}

/// What a lookup cannot go on without.
enum Question {
    Object {
        name: Vec<u8>,
        /// Its first bytes are wanted.
        to_read: bool,
    },
    Directory(Vec<u8>),
    /// All bytes of a small object, which is sent from memory.
    Content(Vec<u8>, Arc<dyn Object>),
}

enum Answer {
    Object(Vec<u8>, io::Result<FoundObject>),
    Directory(Vec<u8>, bool),
    /// The content is there, or the store has another version by now, or its file left the cache:
    /// then the object is asked for again.
    Content(Vec<u8>, io::Result<()>),
}

impl Answer {
    fn failure(&self) -> Option<&io::Error> {
        match self {
            Self::Object(_, found) => found.as_ref().err(),
            Self::Directory(..) => None,
            Self::Content(_, content) => content.as_ref().err(),
        }
    }
}

type Asking<'a> = Pin<Box<dyn Future<Output = io::Result<Answer>> + Send + 'a>>;

impl Answers {
    /// `to_read`: the response will probably have the first bytes of what the path leads to.
    pub(in crate::serve_dir) fn new(to_read: bool) -> Self {
        Self {
            state: Mutex::default(),
            to_read,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the store all that the lookup could not go on without; all of it at once. Returns
    /// whether there was anything to ask.
    ///
    /// # Errors
    /// The store does not say whether there is a directory.
    pub(in crate::serve_dir) async fn ask(&self, store: &dyn Objects) -> io::Result<bool> {
        let questions = std::mem::take(&mut self.state().questions);
        if questions.is_empty() {
            return Ok(false);
        }
        let asking = questions.into_iter().map(|question| question.ask(store));
        for answer in all(asking.collect()).await {
            if let Some(error) = answer.as_ref().map_or_else(Some, Answer::failure)
                && let Some(error) = StoreError::of(error)
            {
                store.failed(error);
            }
            self.note(answer?);
        }
        Ok(true)
    }

    fn note(&self, answer: Answer) {
        let mut state = self.state();
        match answer {
            Answer::Object(name, found) => {
                if found.as_ref().is_ok_and(|found| found.is_fetched) {
                    state.fetched.insert(name.clone());
                }
                state.objects.insert(name, found.map(|found| found.object));
            }
            Answer::Directory(name, found) => {
                state.directories.insert(name, found);
            }
            Answer::Content(name, Ok(())) => {
                state.fetched.insert(name);
            }
            Answer::Content(name, Err(error)) if is_of_another_file(&error) => {
                state.objects.remove(&name);
            }
            Answer::Content(name, Err(error)) => {
                state.objects.insert(name, Err(error));
            }
        }
    }
}

impl State {
    fn must_ask(&mut self, question: Question) -> io::Error {
        self.questions.push(question);
        io::Error::other(ToBeAsked)
    }
}

/// The store has to be asked first. No caller outside the lookup sees this.
#[derive(Debug)]
struct ToBeAsked;

impl std::fmt::Display for ToBeAsked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the store has not answered")
    }
}

impl std::error::Error for ToBeAsked {}

/// Whether the store has to be asked before the lookup goes on.
pub(super) fn is_to_be_asked(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<ToBeAsked>)
}

impl Names for Answers {
    fn open(&self, relative: &[u8], _: Wait) -> io::Result<OpenFile> {
        let mut state = self.state();
        let object = match state.objects.get(relative) {
            Some(Ok(object)) => Arc::clone(object),
            Some(Err(error)) => return Err(copy(error)),
            None => {
                let (name, to_read) = (relative.to_owned(), self.to_read);
                return Err(state.must_ask(Question::Object { name, to_read }));
            }
        };
        let len = object.len();
        if len <= IN_MEMORY_UP_TO && object.present(0, len) < len {
            return Err(state.must_ask(Question::Content(relative.to_owned(), object)));
        }
        let is_just_fetched = state.fetched.contains(relative);
        Ok(OpenFile::of_object(object)?.just_fetched(is_just_fetched))
    }

    fn expect(&self, names: &[Vec<u8>]) -> io::Result<()> {
        let mut state = self.state();
        let unknown = names.iter().filter(|it| !state.objects.contains_key(*it));
        let question = |name| Question::Object {
            name,
            // Few of them are there, and at most one is sent.
            to_read: false,
        };
        let questions: Vec<_> = unknown.cloned().map(question).collect();
        if questions.is_empty() {
            return Ok(());
        }
        state.questions.extend(questions);
        Err(io::Error::other(ToBeAsked))
    }

    fn has_names_below(&self, relative: &[u8]) -> io::Result<bool> {
        if relative.is_empty() {
            return Ok(true);
        }
        let mut state = self.state();
        match state.directories.get(relative) {
            Some(found) => Ok(*found),
            None => Err(state.must_ask(Question::Directory(relative.to_owned()))),
        }
    }

    fn is_remote(&self, _: &OpenFile) -> bool {
        false
    }
}

impl Question {
    fn ask(self, store: &dyn Objects) -> Asking<'_> {
        Box::pin(async move {
            Ok(match self {
                Self::Object { name, to_read } => {
                    let found = match std::str::from_utf8(&name) {
                        Ok(text) if to_read => store.find_to_read(text).await,
                        Ok(text) => store.find(text).await.map(FoundObject::new),
                        // No object has such a name.
                        Err(_) => Err(Errno::NOENT.into()),
                    };
                    Answer::Object(name, found)
                }
                Self::Directory(name) => {
                    let found = match std::str::from_utf8(&name) {
                        Ok(text) => store.is_directory(text).await?,
                        Err(_) => false,
                    };
                    Answer::Directory(name, found)
                }
                Self::Content(name, object) => {
                    let content = fetch(&object).await;
                    Answer::Content(name, content)
                }
            })
        })
    }
}

/// Waits until all bytes of an object are present.
async fn fetch(object: &Arc<dyn Object>) -> io::Result<()> {
    let len = object.len();
    loop {
        let present = object.present(0, len);
        if present >= len {
            return Ok(());
        }
        Arc::clone(object).want(present, len - present).await?;
        if object.present(present, 1) == 0 {
            return Err(StoreError::bad("the store's bytes did not arrive").into());
        }
    }
}

/// Whether the bytes can be had by asking for the object again.
fn is_of_another_file(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, StaleNetworkFileHandle};
    matches!(error.kind(), InvalidData | StaleNetworkFileHandle)
}

/// The results of all futures, in their order, which are polled together.
async fn all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut all: Vec<_> = futures.into_iter().map(|it| (it, None)).collect();
    poll_fn(move |cx| {
        let mut is_ready = true;
        for (future, result) in &mut all {
            if result.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(it) => *result = Some(it),
                    Poll::Pending => is_ready = false,
                }
            }
        }
        if !is_ready {
            return Poll::Pending;
        }
        let results = all.iter_mut().filter_map(|(_, result)| result.take());
        Poll::Ready(results.collect())
    })
    .await
}

/// The same error once more, for the next time that the name is opened.
fn copy(error: &io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound || is_missing(error) {
        return Errno::NOENT.into();
    }
    match (StoreError::of(error), error.raw_os_error()) {
        (Some(error), _) => error.clone().into(),
        (None, Some(errno)) => io::Error::from_raw_os_error(errno),
        (None, None) => io::Error::new(error.kind(), error.to_string()),
    }
}
