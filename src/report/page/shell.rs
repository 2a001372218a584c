//! What every page of a report is wrapped in: no network, no script, light and dark.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot;

const STYLE: &str = include_str!("style.css");

/// A whole page: one file, to which nothing is missing.
pub fn shell(title: &str, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // the page is whole: a browser is told to fetch nothing for it
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(plot::style())) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// A picture as the address of itself. Not part of the page, so that the names within it can't meet another picture's.
pub fn data_url(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_its_own_address_and_a_title_is_no_markup() {
        assert_eq!(data_url("image/png", b"<a>"), "data:image/png;base64,PGE+");
        let page = shell("a <b>", html! { p { "x" } });
        assert!(
            page.contains("<title>a &lt;b&gt;</title>") && page.ends_with("<p>x</p></body></html>"),
            "{page}"
        );
    }
}
