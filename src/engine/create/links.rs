//! Files with several names: which name stands for the file.
//!
//! That is the first name in path order that could be captured as the file that the walk saw. Workers capture names at
//! the same time, so each name waits for the verdict about the one before it. Work is taken in path order and a duty that
//! is dropped says "none", so nobody waits for work that nobody does.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::model::EntryPath;

#[derive(Debug)]
enum State {
    Unknown,
    /// Neither this name nor one before it could be captured as the file.
    None,
    Is(EntryPath),
}

#[derive(Debug)]
struct Cell {
    state: Mutex<State>,
    told: Condvar,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What will be known about a name.
#[derive(Clone, Debug)]
pub(super) struct Verdict(Arc<Cell>);

/// The duty to find it out.
#[derive(Debug)]
pub(super) struct Duty(Arc<Cell>);

/// One of several names of a file.
#[derive(Debug)]
pub(super) struct Name {
    before: Option<Verdict>,
    duty: Duty,
}

impl Name {
    /// A name that follows the one that `before` is about; with the verdict about itself.
    pub(super) fn after(before: Option<Verdict>) -> (Self, Verdict) {
        let cell = Arc::new(Cell { state: Mutex::new(State::Unknown), told: Condvar::new() });
        (Self { before, duty: Duty(Arc::clone(&cell)) }, Verdict(cell))
    }

    /// The name that stands for the file, which this one is to be linked to; none when this is the first that may stand
    /// for it. The outer option is none while that is not known.
    pub(super) fn known_first(&self) -> Option<Option<EntryPath>> {
        let Some(before) = &self.before else { return Some(None) };
        match &*before.0.lock() {
            State::Unknown => None,
            State::None => Some(None),
            State::Is(path) => Some(Some(path.clone())),
        }
    }

    /// The same, waited for.
    pub(super) fn first(&self) -> Option<EntryPath> {
        let before = self.before.as_ref()?;
        let mut state = before.0.lock();
        loop {
            match &*state {
                State::Unknown => state = before.0.told.wait(state).unwrap_or_else(PoisonError::into_inner),
                State::None => return None,
                State::Is(path) => return Some(path.clone()),
            }
        }
    }

    /// Says which name stands for the file.
    pub(super) fn stands(self, path: &EntryPath) {
        *self.duty.0.lock() = State::Is(path.clone());
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::Unknown) {
            *state = State::None;
        }
        self.0.told.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_lost_pass_the_role_on_and_the_first_that_stands_keeps_it() {
        let path = |text: &str| EntryPath::new(text.as_bytes()).unwrap();
        let (a, about_a) = Name::after(None);
        let (b, about_b) = Name::after(Some(about_a));
        let (c, about_c) = Name::after(Some(about_b));
        let (d, _) = Name::after(Some(about_c));
        assert_eq!((a.known_first(), b.known_first()), (Some(None), None));
        let waiting = std::thread::spawn(move || {
            assert_eq!(d.first(), Some(path("b")));
        });
        drop(a);
        assert_eq!(b.first(), None);
        b.stands(&path("b"));
        let first = c.first().unwrap();
        c.stands(&first);
        waiting.join().unwrap();
    }
}
