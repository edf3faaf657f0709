//! Work that several threads do ahead of one consumer, who takes the results in order.
//!
//! Invariant: the line always stands in the order in which the consumer needs it. Work that leads to more work puts it
//! right after itself. Threads take the first work that waits, so what is needed next is done first; work that nobody
//! has begun when it is needed is done by the consumer itself, so there is no waiting for a thread that does not come.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::threads::lock;

/// Units of finished work that may wait for the consumer.
const MAX_AHEAD: usize = 128;

/// How far the consumer looks for work that waits before it wakes the threads.
const LOOK_AHEAD: usize = 8;

/// What doing a piece of work gave.
#[derive(Debug)]
pub(super) struct Done<W, R> {
    pub(super) result: R,
    /// Units of memory that the result holds, at least 1.
    pub(super) cost: usize,
    /// More work, in order.
    pub(super) more: Vec<W>,
}

#[derive(Debug)]
enum State<W, R> {
    Waiting(W),
    Running,
    Finished(R, usize),
}

#[derive(Debug)]
struct Node<W, R> {
    state: State<W, R>,
    next: Option<usize>,
}

#[derive(Debug)]
struct Inner<W, R> {
    nodes: Vec<Node<W, R>>,
    free: Vec<usize>,
    head: Option<usize>,
    /// Cost of all that is finished.
    ahead: usize,
    idle: usize,
    closed: bool,
    lost: bool,
}

/// The line.
#[derive(Debug)]
pub(super) struct OrderedQueue<W, R> {
    inner: Mutex<Inner<W, R>>,
    work: Condvar,
    finished: Condvar,
}

impl<W, R> Inner<W, R> {
    fn insert_after(&mut self, mut at: Option<usize>, more: Vec<W>) {
        for work in more {
            let next = at.map_or(self.head, |i| self.nodes[i].next);
            let node = Node { state: State::Waiting(work), next };
            let index = match self.free.pop() {
                Some(index) => {
                    self.nodes[index] = node;
                    index
                }
                None => {
                    self.nodes.push(node);
                    self.nodes.len() - 1
                }
            };
            match at {
                Some(i) => self.nodes[i].next = Some(index),
                None => self.head = Some(index),
            }
            at = Some(index);
        }
    }

    /// The first work that waits, unless too much is finished in front of it. Of the room that is left only a part is
    /// given to what comes after finished work: what is found later but needed earlier must still find room.
    fn claim(&mut self) -> Option<(usize, W)> {
        let room = MAX_AHEAD.saturating_sub(self.ahead);
        let (mut in_front, mut at) = (0, self.head);
        while let Some(index) = at {
            let node = &mut self.nodes[index];
            match &node.state {
                State::Running => in_front += 1,
                State::Finished(_, cost) => in_front += cost,
                State::Waiting(_) => {
                    let claimed = std::mem::replace(&mut node.state, State::Running);
                    return if let State::Waiting(work) = claimed { Some((index, work)) } else { None };
                }
            }
            if in_front * 2 > room {
                return None;
            }
            at = node.next;
        }
        None
    }

    fn work_is_near(&self) -> bool {
        let mut at = self.head;
        for _ in 0..LOOK_AHEAD {
            let Some(index) = at else { return false };
            if matches!(self.nodes[index].state, State::Waiting(_)) {
                return true;
            }
            at = self.nodes[index].next;
        }
        false
    }
}

impl<W, R> OrderedQueue<W, R> {
    pub(super) fn new(work: Vec<W>) -> Self {
        let mut inner =
            Inner { nodes: Vec::new(), free: Vec::new(), head: None, ahead: 0, idle: 0, closed: false, lost: false };
        inner.insert_after(None, work);
        Self { inner: Mutex::new(inner), work: Condvar::new(), finished: Condvar::new() }
    }

    /// Works until the line is closed.
    pub(super) fn serve(&self, mut run: impl FnMut(W) -> Done<W, R>) {
        let mut inner = lock(&self.inner);
        loop {
            if inner.closed {
                return;
            }
            let Some((index, work)) = inner.claim() else {
                inner.idle += 1;
                inner = wait(&self.work, inner);
                inner.idle -= 1;
                continue;
            };
            drop(inner);
            let guard = LostOnPanic(self);
            let done = run(work);
            inner = lock(&self.inner);
            drop(guard);
            let cost = done.cost.max(1);
            inner.nodes[index].state = State::Finished(done.result, cost);
            inner.ahead += cost;
            let has_more = !done.more.is_empty();
            inner.insert_after(Some(index), done.more);
            if inner.head == Some(index) {
                self.finished.notify_one();
            }
            if has_more && inner.idle > 0 {
                self.work.notify_one();
            }
        }
    }

    /// The result of the first work in the line; none when the line is empty, or a thread was lost in the middle.
    pub(super) fn next(&self, run: impl FnOnce(W) -> Done<W, R>) -> Option<R> {
        let mut inner = lock(&self.inner);
        loop {
            let index = inner.head.filter(|_| !inner.lost)?;
            match std::mem::replace(&mut inner.nodes[index].state, State::Running) {
                State::Running => inner = wait(&self.finished, inner),
                State::Finished(result, cost) => {
                    inner.ahead -= cost;
                    inner.head = inner.nodes[index].next;
                    inner.free.push(index);
                    self.wake(&inner);
                    return Some(result);
                }
                State::Waiting(work) => {
                    inner.head = inner.nodes[index].next;
                    inner.free.push(index);
                    self.wake(&inner);
                    drop(inner);
                    let done = run(work);
                    let mut inner = lock(&self.inner);
                    inner.insert_after(None, done.more);
                    self.wake(&inner);
                    return Some(done.result);
                }
            }
        }
    }

    /// Wakes the threads only when they have something to do soon: a wake-up for each result costs more than it gives.
    fn wake(&self, inner: &Inner<W, R>) {
        if inner.idle > 0 && inner.work_is_near() {
            self.work.notify_all();
        }
    }

    /// Ends the threads after what they are doing now.
    pub(super) fn close(&self) {
        lock(&self.inner).closed = true;
        self.work.notify_all();
    }
}

/// A thread that dies in its work must not leave the consumer waiting.
struct LostOnPanic<'a, W, R>(&'a OrderedQueue<W, R>);

impl<W, R> Drop for LostOnPanic<'_, W, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.inner).lost = true;
            self.0.finished.notify_all();
        }
    }
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// A tree of numbers: each below the limit leads to three more.
    fn visit(work: Vec<u8>) -> Done<Vec<u8>, Vec<u8>> {
        let more = if work.len() < 7 { (0..3).map(|i| [&work[..], &[i]].concat()).collect() } else { Vec::new() };
        Done { result: work, cost: 1, more }
    }

    #[test]
    fn results_come_in_tree_order_with_any_number_of_threads() {
        for threads in [0, 1, 4] {
            let line = Arc::new(OrderedQueue::new(vec![vec![0], vec![1]]));
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let line = Arc::clone(&line);
                    thread::spawn(move || line.serve(visit))
                })
                .collect();
            let mut results = Vec::new();
            while let Some(result) = line.next(visit) {
                assert!(lock(&line.inner).ahead <= MAX_AHEAD + threads);
                results.push(result);
            }
            line.close();
            workers.into_iter().for_each(|w| w.join().unwrap());
            assert_eq!(results.len(), 2 * (3_usize.pow(7) - 1) / 2);
            assert!(results.is_sorted());
        }
    }

    #[test]
    fn a_lost_thread_ends_the_line_instead_of_hanging_it() {
        let line = Arc::new(OrderedQueue::<u8, u8>::new(vec![0]));
        let worker = thread::spawn({
            let line = Arc::clone(&line);
            move || line.serve(|_| panic!("on purpose"))
        });
        assert!(worker.join().is_err());
        assert_eq!(line.next(|_| unreachable!("it was begun by the thread")), None);
    }

    #[test]
    fn threads_stop_far_ahead_of_a_consumer_who_rests() {
        let line = Arc::new(OrderedQueue::new((0..10_000).collect::<Vec<u32>>()));
        let worker = thread::spawn({
            let line = Arc::clone(&line);
            move || line.serve(|n| Done { result: n, cost: 1, more: Vec::new() })
        });
        while lock(&line.inner).idle == 0 {
            thread::yield_now();
        }
        assert!((16..=MAX_AHEAD).contains(&lock(&line.inner).ahead), "{}", lock(&line.inner).ahead);
        line.close();
        worker.join().unwrap();
    }
}
