//! Folds the events of a key into its document.

use super::Key;
use super::document::State;
use super::event::Event;
use super::step::Step;

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
pub fn fold(key: Key, events: Vec<Event>) -> Option<State> {
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
    pub(super) fn add(&mut self, mut events: Vec<Event>) {
        events.retain(|event| event.steps(self.key).next().is_some());
        events.sort_by(|one, other| one.order().cmp(other.order()));
        events.dedup_by(|next, event| next.order() == event.order());
        for event in events {
            match &mut self.state {
                Some(state) => state.take(event),
                None => self.state = Some(State::of(self.key, event)),
            }
        }
    }
}

/// Adds new events of a key to its state. The events can be in any order.
///
/// This is the same as folding all events, because a state has everything that later events need, and every event is
/// later than those that the state has.
pub fn advance(mut state: State, mut events: Vec<Event>) -> Advanced {
    events.sort_by(|one, other| one.order().cmp(other.order()));
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
    fn of(key: Key, event: Event) -> Self {
        let mut state = Self::empty(key, event.order().clone());
        state.take(event);
        state
    }

    /// Applies the steps of an event that is later than all events before.
    fn take(&mut self, event: Event) {
        let (order, steps) = event.into_steps(self.key);
        self.messages.push(order.message);
        for step in steps {
            match step {
                Step::Patient(step) => step.apply(self, &order),
                Step::Visit(step) => step.apply(self),
                Step::Result(step) => step.apply(self),
            }
        }
        self.as_of = order;
    }
}
