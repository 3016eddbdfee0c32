//! Result set management (XEP-0059): which page of an answer is asked for, and which it is.

use super::error::StanzaError;
use super::{Element, ns};

/// The page that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Items at most (§2.1); 0 asks for the number of items alone (§2.7).
    pub max: Option<usize>,
    /// Items behind this one (§2.2).
    pub after: Option<String>,
    /// Items before this one, the nearest (§2.3); empty for the last page (§2.5).
    pub before: Option<String>,
}

impl Page {
    /// Reads the `<set/>` of a request, if it has one.
    pub fn read(request: &Element) -> Result<Self, StanzaError> {
        let Some(set) = request.child(ns::RSM, "set") else { return Ok(Self::default()) };
        if set.child(ns::RSM, "index").is_some() {
            // §2.4: pages are not numbered here.
            return Err(StanzaError::FEATURE_NOT_IMPLEMENTED);
        }
        let text = |name| set.child(ns::RSM, name).map(Element::text);
        let max = text("max").map(|max| max.trim().parse::<u64>().map_err(|_| StanzaError::BAD_REQUEST));
        let max = max.transpose()?.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        Ok(Self { max, after: text("after").filter(|after| !after.is_empty()), before: text("before") })
    }
}

/// The `<set/>` of an answer: its first and last item, and how many there are on all pages.
pub fn set(ends: Option<(String, String)>, count: Option<u64>) -> Element {
    let mut set = Element::new(ns::RSM, "set");
    if let Some((first, last)) = ends {
        set.push(Element::new(ns::RSM, "first").with_text(first));
        set.push(Element::new(ns::RSM, "last").with_text(last));
    }
    if let Some(count) = count {
        set.push(Element::new(ns::RSM, "count").with_text(count.to_string()));
    }
    set
}
