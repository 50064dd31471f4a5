//! Which images a listing gives, in which order and from where on: pages by AIP-158, filters by a part of AIP-160.

mod filter;
mod order;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::filter::Filter;
use self::order::Place;
pub use self::order::{Key, Order, OrderBy};
use super::manifest::Manifest;
use crate::error::{Error, Result};

/// Images on a page when the caller does not say.
const DEFAULT_PAGE: usize = 50;

/// Images on a page at most; a caller who asks for more gets these.
const MAX_PAGE: usize = 1000;

/// Characters of a token at most: an id has 128 characters, so no token of ours comes near.
const MAX_TOKEN: usize = 1024;

/// A listing as it was asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// Images the page holds at most: 1 to 1000.
    pub page_size: usize,
    /// What an image must be.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// The last image of the page before: those strictly after it follow.
    pub after: Option<Key>,
    /// Of the filter and the order, so that a token is good for its own listing only.
    digest: String,
}

/// A page of a listing.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The images, in the query's order.
    pub images: Vec<Arc<Manifest>>,
    /// What asks for the next page; empty on the last one.
    pub next_page_token: String,
}

/// What a page token says, as JSON in base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    /// Digest of the query.
    q: String,
    /// The last image seen.
    after: Key,
}

impl Query {
    /// Reads the four fields of a `ListImagesRequest`.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`](crate::error::Reason::InvalidRequest) naming the field: a negative `page_size`, a `filter` or
    /// `order_by` that cannot be read, a `page_token` that is none or belongs to another filter or order.
    pub fn parse(page_size: i32, page_token: &str, filter: &str, order_by: &str) -> Result<Self> {
        let page_size = match usize::try_from(page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size) => size.min(MAX_PAGE),
            Err(_) => {
                let message = format!("page_size is {page_size}: write 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}");
                return Err(Error::invalid("page_size", message));
            }
        };
        let order: Order = Order::parse(order_by)?;
        let digest = digest(filter.trim(), order);
        let filter = Filter::parse(filter)?;
        let mut query = Self { page_size, filter, order, after: None, digest };
        if !page_token.is_empty() {
            query.after = Some(query.read_token(page_token)?);
        }
        Ok(query)
    }

    /// Whether the filter lets an image through.
    pub fn matches(&self, image: &Manifest) -> bool {
        self.filter.matches(image)
    }

    /// An image's place in the query's order: total, with the id to tell equals apart.
    pub fn sort_key(&self, image: &Manifest) -> Key {
        self.order.place(image).to_key()
    }

    /// Whether an image comes after the page before.
    pub fn is_ahead(&self, image: &Manifest) -> bool {
        self.after.as_ref().is_none_or(|after| self.order.place(image) > after.place())
    }

    /// The token that asks for what follows this image.
    pub fn next_token(&self, last: &Manifest) -> String {
        let token = Token { q: self.digest.clone(), after: self.sort_key(last) };
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::json!(token).to_string())
    }

    /// Picks the page out of all images, given in any order. Keeps no more than a page of them at a time.
    pub fn page<'a>(&self, images: impl IntoIterator<Item = &'a Arc<Manifest>>) -> Page {
        // The last of the page on top: it goes when a better one comes. One more than a page tells whether any follow.
        let mut best: BinaryHeap<Placed<'a>> = BinaryHeap::with_capacity(self.page_size + 2);
        for image in images {
            let place = self.order.place(image);
            let full = best.len() > self.page_size;
            if full && best.peek().is_some_and(|worst| worst.place <= place)
                || self.after.as_ref().is_some_and(|after| place <= after.place())
                || !self.matches(image)
            {
                continue;
            }
            best.push(Placed { place, image });
            if best.len() > self.page_size + 1 {
                best.pop();
            }
        }
        let mut images: Vec<_> = best.into_sorted_vec().into_iter().map(|placed| placed.image.clone()).collect();
        let more = images.len() > self.page_size;
        images.truncate(self.page_size);
        let next_page_token = images.last().filter(|_| more).map(|last| self.next_token(last)).unwrap_or_default();
        Page { images, next_page_token }
    }

    fn read_token(&self, token: &str) -> Result<Key> {
        let mend = "send the next_page_token of the page before as it is, with the filter and order_by of that call";
        let read = |token| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok();
        let Some(Token { q, after }) = Some(token).filter(|token| token.len() <= MAX_TOKEN).and_then(read) else {
            return Err(Error::invalid("page_token", format!("page_token is not one that this server gave: {mend}")));
        };
        if q != self.digest || !after.is_of(self.order) {
            return Err(Error::invalid("page_token", format!("page_token belongs to another listing: {mend}")));
        }
        Ok(after)
    }
}

/// Tells listings apart: 64 bits, since nothing is gained by forging it.
fn digest(filter: &str, order: Order) -> String {
    let text = format!("{filter}\0{}\0{}", order.by.field(), order.descending);
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

/// An image with its place, ordered by it.
struct Placed<'a> {
    place: Place<'a>,
    image: &'a Arc<Manifest>,
}

impl Ord for Placed<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

impl PartialOrd for Placed<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Placed<'_> {}

#[cfg(test)]
mod tests;
