//! Finds the part of a message that a path names.

use super::{Element, Message, Path, Repetition, Segment};

impl<'m> Message<'m> {
    /// Returns the part that the path names, in the first segment with the path's name. Returns `None` if the message
    /// has no such segment.
    pub(crate) fn find(self, path: &Path) -> Option<Element<'m>> {
        self.first(path.segment).map(|segment| segment.find(path))
    }
}

impl<'m> Segment<'m> {
    /// Returns the part that the path names. If the path names all repetitions, returns the part of the first.
    pub(crate) fn find(self, path: &Path) -> Element<'m> {
        let Some(field) = path.field else { return self.as_written() };
        let repetition = match path.repetition {
            Repetition::First | Repetition::All => 1,
            Repetition::Number(number) => number,
        };
        self.field(field.into()).child(repetition.into()).find(path)
    }

    /// Returns one part for each repetition of the path's field, even if the path names only one repetition. Returns
    /// nothing if the field is empty.
    pub(crate) fn find_all(self, path: &Path) -> impl Iterator<Item = Element<'m>> + use<'m> {
        let (path, field) = (*path, path.field.map(|field| self.field(field.into())));
        let written = field.filter(|field| !field.text().is_empty());
        written.into_iter().flat_map(Element::children).map(move |repetition| repetition.find(&path))
    }
}

impl Element<'_> {
    /// Returns the component and the subcomponent that the path names. `self` must be a repetition of the path's
    /// field.
    pub(crate) fn find(self, path: &Path) -> Self {
        let component = path.component.map_or(self, |component| self.child(component.into()));
        path.subcomponent.map_or(component, |subcomponent| component.child(subcomponent.into()))
    }
}
