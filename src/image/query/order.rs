//! In which order a listing comes: total, so that a page can begin strictly after any image.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::id::ImageId;
use crate::image::manifest::Manifest;

/// What `order_by` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// The field that decides; ids decide between equals.
    pub by: OrderBy,
    /// Whether all of it, ids included, is turned round.
    pub descending: bool,
}

/// A field to order by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderBy {
    /// The name, by its bytes.
    #[default]
    Name,
    /// When the image was created.
    CreateTime,
    /// When bytes or metadata were last written.
    UpdateTime,
    /// Bytes.
    Size,
}

impl OrderBy {
    /// Every field.
    pub const ALL: [Self; 4] = [Self::Name, Self::CreateTime, Self::UpdateTime, Self::Size];

    /// The field's name in the proto.
    pub fn field(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::CreateTime => "create_time",
            Self::UpdateTime => "update_time",
            Self::Size => "size_bytes",
        }
    }
}

/// An image's place in an order. Keys of different orders are never compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    #[serde(default, skip_serializing_if = "Rank::is_none")]
    rank: Rank,
    id: ImageId,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    descending: bool,
}

/// What comes before the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rank {
    #[default]
    None,
    Time(DateTime<Utc>),
    Size(u64),
}

impl Rank {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// A [`Key`] that borrows the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    rank: Rank,
    id: &'a ImageId,
    descending: bool,
}

impl Order {
    /// Reads `order_by`: one field with an optional ` desc`; nothing is `name`.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`](crate::error::Reason::InvalidRequest), naming `order_by` and what it may say.
    pub fn parse(order_by: &str) -> Result<Self> {
        let mut words = order_by.split_ascii_whitespace();
        let Some(field) = words.next() else { return Ok(Self::default()) };
        let by = OrderBy::ALL.into_iter().find(|by| by.field() == field);
        match (by, words.next(), words.next()) {
            (Some(by), None, _) => Ok(Self { by, descending: false }),
            (Some(by), Some("desc"), None) => Ok(Self { by, descending: true }),
            _ => {
                let shown: String = order_by.chars().take(100).collect();
                let message = format!(
                    "order_by `{}` is not known: write one of name, create_time, update_time, size_bytes, \
                     with ` desc` after it for the reverse",
                    shown.escape_debug()
                );
                Err(Error::invalid("order_by", message))
            }
        }
    }

    /// An image's place.
    pub(super) fn place(self, image: &Manifest) -> Place<'_> {
        let rank = match self.by {
            OrderBy::Name => Rank::None,
            OrderBy::CreateTime => Rank::Time(image.create_time),
            OrderBy::UpdateTime => Rank::Time(image.update_time),
            OrderBy::Size => Rank::Size(image.size),
        };
        Place { rank, id: &image.id, descending: self.descending }
    }
}

impl Key {
    /// The image's id.
    pub fn id(&self) -> &ImageId {
        &self.id
    }

    /// Whether this is a place in that order.
    pub(super) fn is_of(&self, order: Order) -> bool {
        let ranked = match order.by {
            OrderBy::Name => self.rank.is_none(),
            OrderBy::CreateTime | OrderBy::UpdateTime => matches!(self.rank, Rank::Time(_)),
            OrderBy::Size => matches!(self.rank, Rank::Size(_)),
        };
        ranked && self.descending == order.descending
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place { rank: self.rank, id: &self.id, descending: self.descending }
    }
}

impl Place<'_> {
    pub(super) fn to_key(self) -> Key {
        Key { rank: self.rank, id: self.id.clone(), descending: self.descending }
    }
}

impl Ord for Place<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.rank.cmp(&other.rank).then_with(|| self.id.cmp(other.id));
        if self.descending { order.reverse() } else { order }
    }
}

impl PartialOrd for Place<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
