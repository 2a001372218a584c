//! Bounded channels whose waits are counted, and which give way when the run stops.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender, TrySendError, select_biased};

use super::cores::{Borrower, lend};
use super::fault::Fault;
use super::ledger::Gauge;

/// The other end is gone, or everyone is to stop. Whose fault it was stands in [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// The end of a channel that values go in; every value has a ticket, its place in the run.
pub struct Sending<T> {
    into: Sender<(u64, T)>,
    stop: Receiver<Infallible>,
    gauge: Arc<Gauge>,
}

/// The end of a channel that values come out of. Clones share the values among them.
pub struct Receiving<T> {
    from: Receiver<(u64, T)>,
    stop: Receiver<Infallible>,
    gauge: Arc<Gauge>,
    /// Those who may have this thread's core while it waits.
    borrowers: Receiver<Borrower>,
}

/// A channel of `gauge.capacity` values.
pub fn open<T>(gauge: Arc<Gauge>, fault: &Fault) -> (Sending<T>, Receiving<T>) {
    let (into, from) = channel::bounded(gauge.capacity.max(1));
    let sending = Sending { into, stop: fault.closed(), gauge: gauge.clone() };
    (sending, Receiving { from, stop: fault.closed(), gauge, borrowers: channel::never() })
}

impl<T> Clone for Sending<T> {
    fn clone(&self) -> Self {
        Sending { into: self.into.clone(), stop: self.stop.clone(), gauge: self.gauge.clone() }
    }
}

impl<T> Clone for Receiving<T> {
    fn clone(&self) -> Self {
        Receiving {
            from: self.from.clone(),
            stop: self.stop.clone(),
            gauge: self.gauge.clone(),
            borrowers: self.borrowers.clone(),
        }
    }
}

impl<T> Sending<T> {
    /// Waits for room.
    pub fn send(&self, ticket: u64, value: T) -> Result<(), Stopped> {
        let fill = self.into.len() + 1;
        let item = match self.into.try_send((ticket, value)) {
            Ok(()) => {
                self.gauge.sent(Duration::ZERO, fill.min(self.gauge.capacity));
                return Ok(());
            }
            Err(TrySendError::Disconnected(_)) => return Err(Stopped),
            Err(TrySendError::Full(item)) => item,
        };
        let start = Instant::now();
        select_biased! {
            recv(self.stop) -> _ => return Err(Stopped),
            send(self.into, item) -> sent => sent.map_err(|_| Stopped)?,
        }
        self.gauge.sent(start.elapsed(), self.gauge.capacity);
        Ok(())
    }
}

impl<T> Receiving<T> {
    /// Lends its thread's core to these while it waits.
    pub fn lending(self, borrowers: Receiver<Borrower>) -> Self {
        Receiving { borrowers, ..self }
    }

    /// A value, where one is there.
    pub fn ready(&self) -> Option<(u64, T)> {
        let item = self.from.try_recv().ok()?;
        self.gauge.received(Duration::ZERO);
        Some(item)
    }

    /// Waits for a value.
    pub fn receive(&self) -> Result<(u64, T), Stopped> {
        if let Some(item) = self.ready() {
            return Ok(item);
        }
        let start = Instant::now();
        let item = loop {
            select_biased! {
                recv(self.stop) -> _ => return Err(Stopped),
                recv(self.from) -> item => break item.map_err(|_| Stopped)?,
                recv(self.borrowers) -> borrower => borrower.into_iter().for_each(lend),
            }
        };
        self.gauge.received(start.elapsed());
        Ok(item)
    }
}

/// Restores the order that workers lose: values by ticket, each once, none missing.
pub struct InOrder<T> {
    from: Receiving<T>,
    early: BTreeMap<u64, T>,
    next: u64,
}

impl<T> InOrder<T> {
    /// Values from ticket `first` on.
    pub fn new(from: Receiving<T>, first: u64) -> Self {
        InOrder { from, early: BTreeMap::new(), next: first }
    }

    /// The value with the next ticket.
    pub fn take(&mut self) -> Result<T, Stopped> {
        loop {
            if let Some(value) = self.early.remove(&self.next) {
                self.next += 1;
                return Ok(value);
            }
            let (ticket, value) = self.from.receive()?;
            self.early.insert(ticket, value);
        }
    }
}

/// Bounds the pictures between a source and the island, whatever one slow worker does to their order.
pub struct Credits {
    granted: Receiver<()>,
    stop: Receiver<Infallible>,
}

/// Gives room back to a source.
#[derive(Clone)]
pub struct Refund(Sender<()>);

/// Room for `pictures` at once.
pub fn credits(pictures: usize, fault: &Fault) -> (Refund, Credits) {
    let (refund, granted) = channel::bounded(pictures);
    for _ in 0..pictures {
        // has room: the channel is new
        let _ = refund.try_send(());
    }
    (Refund(refund), Credits { granted, stop: fault.closed() })
}

impl Credits {
    /// Waits until one more picture may start.
    pub fn take(&self) -> Result<(), Stopped> {
        select_biased! {
            recv(self.stop) -> _ => Err(Stopped),
            recv(self.granted) -> granted => granted.map_err(|_| Stopped),
        }
    }

    /// Whether one more picture may start now.
    pub fn ready(&self) -> bool {
        self.granted.try_recv().is_ok()
    }
}

impl Clone for Credits {
    fn clone(&self) -> Self {
        Credits { granted: self.granted.clone(), stop: self.stop.clone() }
    }
}

impl Refund {
    /// `pictures` have arrived.
    pub fn give(&self, pictures: usize) {
        for _ in 0..pictures {
            // a source that is done no longer listens
            let _ = self.0.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_restored_and_fill_is_counted() {
        let fault = Fault::default();
        let gauge = Gauge::new("a", "b", 4);
        let (sending, receiving) = open(gauge.clone(), &fault);
        for ticket in [12, 10, 11, 13] {
            sending.send(ticket, ticket * 2).unwrap();
        }
        drop(sending);
        let mut values = InOrder::new(receiving, 10);
        assert_eq!([(); 4].map(|()| values.take().unwrap()), [20, 22, 24, 26]);
        assert_eq!(values.take(), Err(Stopped));
        assert_eq!((gauge.count(), gauge.occupancy()), (4, (1.0 + 2.0 + 3.0 + 4.0) / 16.0));
    }

    #[test]
    fn a_stop_wakes_a_full_sender_and_an_empty_receiver() {
        let fault = Fault::default();
        let (sending, _full) = open::<()>(Gauge::new("a", "b", 1), &fault);
        let (_empty, receiving) = open::<()>(Gauge::new("b", "c", 1), &fault);
        sending.send(0, ()).unwrap();
        std::thread::scope(|scope| {
            let blocked =
                [scope.spawn(|| sending.send(1, ())), scope.spawn(|| receiving.receive().map(|_| ()))];
            fault.stop();
            for thread in blocked {
                assert_eq!(thread.join().unwrap(), Err(Stopped));
            }
        });
    }
}
