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
pub fn fold(key: Key, events: &mut Vec<&Event>) -> Option<State> {
    events.sort_by(|one, other| one.order().cmp(other.order()));
    events.dedup_by(|one, other| one.order() == other.order());
    let mut state: Option<State> = None;
    for event in events.iter().filter(|event| event.steps(key).next().is_some()) {
        match &mut state {
            Some(state) => state.take(event),
            None => state = Some(State::of(key, event)),
        }
    }
    state
}

/// Adds new events of a key to its state. The events are in order.
///
/// This is the same as folding all events, because a state has everything that later events need, and every event is
/// later than those that the state has.
pub fn advance(mut state: State, events: &[&Event]) -> Advanced {
    for event in events {
        match event.order().cmp(&state.as_of) {
            std::cmp::Ordering::Less => return Advanced::NeedsAll,
            // The last message of the state, again.
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
