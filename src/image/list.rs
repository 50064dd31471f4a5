//! A page of the images, out of the index.

use super::index::Index;
use super::query::{OrderBy, Page, Query};

/// The page that `query` asks for. By name it costs a walk over the page; by anything else, one over all images.
pub(super) fn page(index: &Index, query: &Query) -> Page {
    if query.order.by != OrderBy::Name {
        return index.scan(|all| query.page(all));
    }
    let after = query.after.as_ref().map(|key| key.id());
    // One more than the page tells whether any follow.
    index.walk(after, query.order.descending, |ahead| {
        query.page(ahead.filter(|manifest| query.matches(manifest)).take(query.page_size + 1))
    })
}
