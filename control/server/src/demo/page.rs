//! The demo page and what it is told.

use bifrons_transports::StaticFiles;
use serde_json::Value;

/// Where the page is.
pub const PATH: &str = "/demo/";

/// Name, content type, content.
const FILES: [(&str, &str, &[u8]); 9] = [
    ("index.html", "text/html; charset=utf-8", include_bytes!("../../web/index.html")),
    ("style.css", "text/css; charset=utf-8", include_bytes!("../../web/style.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../web/icon.svg")),
    ("main.js", "text/javascript; charset=utf-8", include_bytes!("../../web/main.js")),
    ("api.js", "text/javascript; charset=utf-8", include_bytes!("../../web/api.js")),
    ("echo.js", "text/javascript; charset=utf-8", include_bytes!("../../web/echo.js")),
    ("media.js", "text/javascript; charset=utf-8", include_bytes!("../../web/media.js")),
    ("meters.js", "text/javascript; charset=utf-8", include_bytes!("../../web/meters.js")),
    ("phone.js", "text/javascript; charset=utf-8", include_bytes!("../../web/phone.js")),
];

/// The page with its `config.json`.
pub fn files(config: &Value) -> StaticFiles {
    let entry = |name: &str, kind: &str, content: &[u8]| {
        (format!("{PATH}{name}"), kind.to_owned(), content.to_owned())
    };
    let (_, kind, index) = FILES[0];
    let mut files: Vec<_> = FILES.iter().map(|(name, kind, content)| entry(name, kind, content)).collect();
    files.push(entry("", kind, index));
    files.push(entry("config.json", "application/json", config.to_string().as_bytes()));
    StaticFiles::new(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_inside() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(FILES.iter().any(|(known, ..)| *known == name), "{name} is not served");
        }
    }
}
