//! The whole recipes that the program comes with, for comparing a run with the one of its name.

macro_rules! shipped {
    ($($name:literal)*) => {
        /// Their names and texts.
        const SHIPPED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/graphs/", $name, ".ron")))),*];
    };
}

shipped! { "quickstart" "cifar10" "vits16" "vits8" "vitb16" "vitb8" "resnet50" "byol" "moco" "swav" }

/// The text of the graph of this name, if there is one.
pub fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::load::{Request, load_text};

    #[test]
    fn every_graph_is_under_its_name_and_sound() {
        let files = std::fs::read_dir("graphs").unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|ending| ending == "ron"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let mut known: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(names, known);
        for name in names {
            let loaded = load_text(shipped(&name).unwrap(), &Request::default());
            assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
            assert_eq!(loaded.spec.unwrap().name, name);
        }
        assert_eq!(shipped("mine"), None);
    }
}
