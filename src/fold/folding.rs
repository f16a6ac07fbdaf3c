//! Folds the events of a key into its document.

use super::document::State;
use super::event::Event;
use super::step::Step;
use super::{Key, Order};

/// The result of [`advance`].
#[derive(Debug, Clone, PartialEq)]
pub enum Advanced {
    /// The state with the new events.
    To(State),
    /// An event is earlier than the state. The key must be folded from all its events.
    NeedsAll,
}

/// Folds all events of a key. They can be in any order, and the same event can occur several times. Returns `None` if
/// no event touches the key.
pub fn fold(key: Key, events: &mut [&Event]) -> Option<State> {
    let mut folding = Folding { key, state: None };
    folding.add(events);
    folding.state
}

/// Folds the events of a key piece by piece.
pub(super) struct Folding {
    pub key: Key,
    pub state: Option<State>,
}

impl Folding {
    /// Adds events that are later than all events before. Among themselves, they can be in any order, and the same
    /// event can occur several times.
    pub(super) fn add(&mut self, events: &mut [&Event]) {
        events.sort_by(|one, other| one.order().cmp(other.order()));
        let mut last = None;
        for event in events.iter().filter(|event| event.steps(self.key).next().is_some()) {
            if last == Some(event.order()) {
                continue;
            }
            last = Some(event.order());
            match &mut self.state {
                Some(state) => state.take(event),
                None => self.state = Some(State::of(self.key, event)),
            }
        }
    }
}

/// Adds new events of a key to its state. The events are in order.
///
/// This is the same as folding all events, because a state has everything that later events need, and every event is
/// later than those that the state has.
pub fn advance(mut state: State, events: &[&Event]) -> Advanced {
    for event in events {
        match event.order().cmp(&state.as_of) {
            std::cmp::Ordering::Less => return Advanced::NeedsAll,
            // The last message of the state: it is already applied.
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => state.take(event),
        }
    }
    Advanced::To(state)
}

impl State {
    fn of(key: Key, event: &Event) -> Self {
        let mut state = Self::empty(key, event.order().clone());
        state.take(event);
        state
    }

    /// Applies the steps of an event that is later than all events before.
    fn take(&mut self, event: &Event) {
        let order: &Order = event.order();
        self.messages.push(order.message);
        for step in event.steps(self.key) {
            match step {
                Step::Patient(step) => step.apply(self, order),
                Step::Visit(step) => step.apply(self),
                Step::Result(step) => step.apply(self),
            }
        }
        self.as_of = order.clone();
    }
}
