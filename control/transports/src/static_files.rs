//! Files that stand beside the API: a page, a script, a fixed JSON.

use std::collections::BTreeMap;
use std::rc::Rc;

use hyper::body::Bytes;

/// Contents by exact path.
#[derive(Clone, Debug, Default)]
pub struct StaticFiles(Rc<BTreeMap<String, (String, Bytes)>>);

impl StaticFiles {
    /// From path (with its leading `/`), content type and content.
    pub fn new(files: impl IntoIterator<Item = (String, String, Vec<u8>)>) -> Self {
        let entry = |(path, kind, content)| (path, (kind, Bytes::from(content)));
        Self(Rc::new(files.into_iter().map(entry).collect()))
    }

    /// Content type and content of a path.
    pub(crate) fn get(&self, path: &str) -> Option<(&str, Bytes)> {
        self.0.get(path).map(|(kind, content)| (kind.as_str(), content.clone()))
    }
}
