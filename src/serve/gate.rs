//! Work that only so many may do at a time, and rates.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// Keys whose rates are remembered; beyond that, those that are full again are dropped.
const BUCKETS_MAX: usize = 10_000;

/// A number of places, and a bounded queue before them.
#[derive(Debug)]
pub(crate) struct Gate {
    /// What the places are for, as an error says it.
    what: &'static str,
    places: Arc<Semaphore>,
    n_places: usize,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
}

/// A place, or the right to wait for one.
#[derive(Debug)]
pub(crate) struct Ticket {
    places: Arc<Semaphore>,
    state: State,
}

#[derive(Debug)]
enum State {
    Place(OwnedSemaphorePermit),
    Waiting(Waiting),
}

/// Counted as waiting until it is dropped.
#[derive(Debug)]
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Gate {
    pub(crate) fn new(what: &'static str, n_places: usize, waiting_max: usize) -> Self {
        Self {
            what,
            places: Arc::new(Semaphore::new(n_places)),
            n_places,
            waiting: Arc::default(),
            waiting_max,
        }
    }

    /// A ticket, at once; an error where as many wait as may.
    pub(crate) fn ticket(&self) -> Result<Ticket, ApiError> {
        let places = Arc::clone(&self.places);
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            return Ok(Ticket { places, state: State::Place(permit) });
        }
        let waiting = Waiting(Arc::clone(&self.waiting));
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= self.waiting_max {
            return Err(ApiError::overloaded(self.what));
        }
        Ok(Ticket { places, state: State::Waiting(waiting) })
    }

    /// How many have a place, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let running = self.n_places - self.places.available_permits();
        (running, self.waiting.load(Ordering::SeqCst))
    }

    pub(crate) fn limits(&self) -> (usize, usize) {
        (self.n_places, self.waiting_max)
    }
}

impl Ticket {
    /// Waits for the place.
    pub(crate) async fn place(self) -> Place {
        match self.state {
            State::Place(permit) => Place(permit),
            State::Waiting(waiting) => {
                let permit = self.places.acquire_owned().await.expect("places are never closed");
                drop(waiting);
                Place(permit)
            }
        }
    }
}

/// How many requests a minute each key may make: a bucket of tokens that fills evenly.
#[derive(Debug)]
pub(crate) struct Rates {
    per_minute: u32,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Mutex::default() }
    }

    /// Takes one request of a key; whoever needs no key has no rate either.
    pub(crate) fn take(&self, key: &str) -> Result<(), ApiError> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: &str, now: Instant) -> Result<(), ApiError> {
        if self.per_minute == 0 || key.is_empty() {
            return Ok(());
        }
        let full = f64::from(self.per_minute);
        let filled = |it: &Bucket| {
            let seconds = now.saturating_duration_since(it.at).as_secs_f64();
            (it.tokens + seconds * full / 60.0).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, it| filled(it) < full);
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { tokens: full, at: now });
        let tokens = filled(bucket);
        if tokens >= 1.0 {
            *bucket = Bucket { tokens: tokens - 1.0, at: now };
            return Ok(());
        }
        let wait = (1.0 - tokens) * 60.0 / full;
        Err(ApiError::too_many(wait.ceil() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn whoever_comes_beyond_the_queue_is_told_at_once() {
        let gate = Gate::new("the model", 1, 1);
        let first = gate.ticket().unwrap().place().await;
        let second = gate.ticket().unwrap();
        assert_eq!(gate.load(), (1, 1));
        gate.ticket().unwrap_err();
        drop(first);
        let second = second.place().await;
        assert_eq!(gate.load(), (1, 0));
        let left = gate.ticket().unwrap();
        drop(left);
        assert_eq!(gate.load(), (1, 0));
        drop(second);
        assert_eq!(gate.load(), (0, 0));
    }

    #[test]
    fn a_bucket_fills_evenly() {
        let rates = Rates::new(60);
        let start = Instant::now();
        for _ in 0..60 {
            rates.take_at("k_1", start).unwrap();
        }
        rates.take_at("k_1", start).unwrap_err();
        rates.take_at("k_2", start).unwrap();
        rates.take_at("", start).unwrap();
        let later = start + Duration::from_millis(1_100);
        rates.take_at("k_1", later).unwrap();
        rates.take_at("k_1", later).unwrap_err();
    }
}
