//! Starts threads. The system may refuse one at any moment, which is an error like any other and never a panic.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use crate::error::{Error, Hint, Result};

/// Locks what stays right whenever its holder stops, so that a panic elsewhere is not one here too.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many as the host has cores for.
pub(crate) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Waits for a thread whose work may fail.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|e| Err(died(e)))
}

/// Starts a thread that work cannot do without.
pub(crate) fn start<'scope, F, T>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: F,
) -> Result<ScopedJoinHandle<'scope, T>>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work).map_err(|e| refused(name, e))
}

/// Starts a thread that work cannot do without and that outlives the caller.
pub(crate) fn start_detached<F, T>(name: &str, work: F) -> Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().name(name.to_owned()).spawn(work).map_err(|e| refused(name, e))
}

/// Starts up to `wished` equal threads, each with what `work` makes for it. Fewer only cost time; none is an error.
pub(crate) fn start_pool<'scope, F, T>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    wished: usize,
    mut work: impl FnMut() -> F,
) -> Result<Vec<ScopedJoinHandle<'scope, T>>>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    let mut pool = vec![start(scope, name, work())?];
    pool.extend((1..wished).map_while(|_| start(scope, name, work()).ok()));
    Ok(pool)
}

/// The error for a thread that panicked, as whoever waited for its work, its end or its lock meets it.
pub(crate) fn died<T>(_: T) -> Error {
    Error::failed("a thread ended unexpectedly")
}

fn refused(name: &str, cause: io::Error) -> Error {
    Error::failed(format!("cannot start the thread `{name}`: the system gives no more threads"))
        .because(cause)
        .hint(Hint::FewerThreads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_the_wished_number_of_threads_and_at_least_one() {
        for (wished, started) in [(0, 1), (1, 1), (3, 3)] {
            let ended = std::thread::scope(|scope| {
                let pool = start_pool(scope, "work", wished, || || 1).unwrap();
                pool.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
            });
            assert_eq!(ended, started);
        }
    }

    #[test]
    fn a_refusal_is_an_error_with_advice() {
        let error = refused("work", io::ErrorKind::WouldBlock.into());
        assert!(error.to_string().contains("`work`"), "{error}");
        assert_eq!(error.advice(), Some(&Hint::FewerThreads));
    }
}
