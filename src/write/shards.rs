//! Finds the shard that owned an `_id` when the load began, so that each bulk command contains records of one shard
//! only.

use crate::encode::Id;
use crate::server::sharding::{Bound, Owned};

/// The shards of a collection, by ranges of `_id`s. The shards are numbered from 0. By default, the collection is not
/// sharded: all `_id`s belong to shard 0.
///
/// The server may move ranges to other shards during a load. A command can then contain records of several shards.
/// This is slower, but not wrong: mongos divides such a command.
#[derive(Debug, Clone, Default)]
pub struct ShardMap {
    /// The first `_id` of each range, in ascending order. The first range has no entry, because it has no first `_id`.
    splits: Vec<Id>,
    /// The shard of each range. Empty if the collection is not sharded.
    owners: Vec<u16>,
    /// Number of shards. 0 if the collection is not sharded.
    count: usize,
}

impl ShardMap {
    /// Makes the map of these ranges, which are in ascending order.
    pub fn new(ranges: &[Owned]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut map = Self::default();
        for range in ranges.iter().filter(|range| range.from != Bound::Highest) {
            let number = names.iter().position(|name| *name == range.shard).unwrap_or(names.len());
            if number == names.len() {
                names.push(&range.shard);
            }
            match range.from {
                Bound::At(bytes) if !map.owners.is_empty() => map.splits.push(Id(bytes)),
                // This is the first range, or a range that begins before all `_id`s of Medlift. Earlier ranges then
                // contain none of these `_id`s, and are removed.
                _ => map.owners.clear(),
            }
            map.owners.push(number as u16);
        }
        map.count = names.len();
        map
    }

    /// Returns the number of shards. Returns 1 if the collection is not sharded.
    pub fn count(&self) -> usize {
        self.count.max(1)
    }

    /// Returns the shard that owns the `_id`.
    pub(super) fn shard_of(&self, id: &Id) -> u16 {
        let range = self.splits.partition_point(|split| split <= id);
        self.owners.get(range).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(first: u8) -> Bound {
        Bound::At(id(first).0)
    }

    fn id(first: u8) -> Id {
        let mut bytes = [0; 16];
        bytes[0] = first;
        Id(bytes)
    }

    #[track_caller]
    fn check(ranges: &[(Bound, &str)], count: usize, expected: &[(u8, u16)]) {
        let owned = |(from, shard): &(Bound, &str)| Owned { from: *from, shard: (*shard).to_owned() };
        let map = ShardMap::new(&ranges.iter().map(owned).collect::<Vec<_>>());
        assert_eq!(map.count(), count, "{map:?}");
        for (first, shard) in expected {
            assert_eq!(map.shard_of(&id(*first)), *shard, "{first:#x} in {map:?}");
        }
    }

    #[test]
    fn each_id_has_the_shard_of_its_range() {
        check(&[], 1, &[(0, 0), (0xff, 0)]);
        check(&[(Bound::Lowest, "A")], 1, &[(0, 0), (0xff, 0)]);
        let three = [(Bound::Lowest, "A"), (at(0x40), "B"), (at(0x80), "A"), (at(0xc0), "C")];
        check(&three, 3, &[(0, 0), (0x3f, 0), (0x40, 1), (0x7f, 1), (0x80, 0), (0xc0, 2), (0xff, 2)]);
    }

    #[test]
    fn ranges_of_other_types_of_ids_do_not_matter() {
        let ranges = [(Bound::Lowest, "A"), (Bound::Lowest, "B"), (at(0x80), "C"), (Bound::Highest, "D")];
        check(&ranges, 3, &[(0, 1), (0x7f, 1), (0x80, 2), (0xff, 2)]);
    }
}
