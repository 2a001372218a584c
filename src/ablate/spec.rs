//! What an ablation file says.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Deserialize;

use crate::doctor::Way;
use crate::error::Error;
use crate::graph::load::read_text;
use crate::graph::origin::Origins;
use crate::graph::parse::parse;
use crate::graph::problem::Diagnostic;
use crate::graph::read::read;
use crate::graph::tree::Tree;

/// An ablation file: one graph, edits that all variants share, and the variants.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblationSpec {
    /// The heading of the report; the file's name where it is left out.
    #[serde(default)]
    pub title: Option<String>,
    /// The graph file; its path starts from the ablation file's folder.
    pub graph: PathBuf,
    /// `PATH=VALUE`, as `--set` takes it, for all variants.
    #[serde(default)]
    pub set: Vec<String>,
    /// `NODE=PRESET` or `NODE=RON`, as `--swap` takes it, for all variants.
    #[serde(default)]
    pub swap: Vec<String>,
    /// Nodes that all variants leave out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Each variant runs once with each.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// The variants in the report's order; the others are compared with the first.
    #[serde(default)]
    pub variants: Vec<VariantSpec>,
    /// In place of variants: for each `--set` path its values, every combination of which is one.
    #[serde(default)]
    pub grid: IndexMap<String, Vec<String>>,
}

/// What one variant changes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// Names its folder and its lines in the report.
    pub name: String,
    #[serde(default)]
    pub set: Vec<String>,
    #[serde(default)]
    pub swap: Vec<String>,
    #[serde(default)]
    pub without: Vec<String>,
    /// The published result, as it is to stand in the report.
    #[serde(default)]
    pub published: Option<String>,
    /// What is to come of it.
    #[serde(default)]
    pub expect: Option<Expect>,
}

/// What is to come of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Expect {
    /// It comes to its end without having collapsed, and with better neighbours than it began with.
    Trains,
    /// It comes to its end without having collapsed, and its neighbours are no better than the untrained network's.
    LearnsNothing,
    /// It collapses this way.
    Collapses(Way),
}

impl Expect {
    /// In words: "trains", "collapses to uniform".
    pub fn word(self) -> String {
        match self {
            Expect::Trains => "trains".into(),
            Expect::LearnsNothing => "learns nothing".into(),
            Expect::Collapses(way) => format!("collapses {}", way.word()),
        }
    }
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

impl AblationSpec {
    /// Reads and judges an ablation file; the grid is written out as variants, and the graph's path starts where the program does.
    ///
    /// # Errors
    /// When the file can't be read, and everything that is wrong with it, each with its place.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            read_text(path).map_err(|cause| Error::File { doing: "read", path: path.into(), cause })?;
        let mut origins = Origins::default();
        let id = origins.add(path.display().to_string(), text.clone());
        let refused = |problems: Vec<Diagnostic>, origins: Origins| {
            Err(Error::Graph { problems, origins: Box::new(origins) })
        };
        let tree = match parse(&text, id) {
            Ok(tree) => tree,
            Err(problem) => return refused(vec![*problem], origins),
        };
        let reading = read::<AblationSpec>(&tree, HashSet::new());
        let mut problems: Vec<Diagnostic> =
            reading.faults.into_iter().map(|fault| fault.diagnose(&tree, &origins)).collect();
        let Some(mut spec) = reading.value else { return refused(problems, origins) };
        if problems.is_empty() {
            problems = spec.problems(&tree);
        }
        if !problems.is_empty() {
            return refused(problems, origins);
        }
        spec.graph = path.parent().unwrap_or(Path::new("")).join(&spec.graph);
        if spec.variants.is_empty() {
            spec.variants = combinations(&spec.grid);
        }
        Ok(spec)
    }

    fn problems(&self, tree: &Tree) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let mut unfit = |path: &[&str], what: &str, expected: &str, found: String| {
            problems.push(Diagnostic::error(tree.place(path).clone(), what).expected(expected).found(found));
        };
        if self.variants.is_empty() == self.grid.values().all(Vec::is_empty) {
            let found = if self.grid.is_empty() { "neither" } else { "both" };
            unfit(&[], "an ablation has variants or a grid", "`variants: […]` or `grid: {…}`", found.into());
        }
        if self.seeds.is_empty() {
            unfit(&["seeds"], "no seeds", "one number or more", "none".into());
        }
        let mut seeds = HashSet::new();
        for (index, seed) in self.seeds.iter().enumerate().filter(|(_, seed)| !seeds.insert(**seed)) {
            unfit(&["seeds", &index.to_string()], "a seed stands twice", "each once", seed.to_string());
        }
        let mut names = HashSet::new();
        for (index, variant) in self.variants.iter().enumerate() {
            let (name, at) = (&variant.name, index.to_string());
            if !plain(name) {
                let expected =
                    "a folder's name: letters, digits, spaces, and any of - _ . + = ( ), at most 80";
                unfit(&["variants", &at, "name"], "`name` does not fit", expected, format!("{name:?}"));
            } else if !names.insert(name.to_lowercase()) {
                let expected = "each variant under a name of its own";
                unfit(&["variants", &at, "name"], "a name stands twice", expected, format!("{name:?}"));
            }
        }
        for (path, values) in self.grid.iter().filter(|(_, values)| values.is_empty()) {
            unfit(&["grid", path], "no values", "one or more, as `--set` takes them", format!("{values:?}"));
        }
        problems
    }
}

/// Whether a name can be a folder's anywhere.
fn plain(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "-_.+=() ".contains(c);
    let edges = !name.starts_with(['.', ' ']) && !name.ends_with(['.', ' ']);
    !name.is_empty() && name.len() <= 80 && edges && name.chars().all(allowed)
}

/// Every combination of a grid's values, the last path's running fastest.
fn combinations(grid: &IndexMap<String, Vec<String>>) -> Vec<VariantSpec> {
    let mut variants = vec![VariantSpec::default()];
    for (path, values) in grid {
        let key = path.rsplit('.').next().unwrap_or(path);
        let with = |variant: &VariantSpec, value: &String| {
            let mut variant = variant.clone();
            let name = format!("{key}={value}");
            let name: String = name.chars().map(|c| if plain(&format!("a{c}a")) { c } else { '-' }).collect();
            variant.name = if variant.name.is_empty() { name } else { format!("{} {name}", variant.name) };
            variant.set.push(format!("{path}={value}"));
            variant
        };
        variants = variants.iter().flat_map(|one| values.iter().map(move |value| with(one, value))).collect();
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::report;

    fn read_file(text: &str) -> Result<AblationSpec, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ron");
        std::fs::write(&path, text).unwrap();
        AblationSpec::read(&path).map_err(|error| match error {
            Error::Graph { problems, origins } => report::text(&problems, &origins),
            other => other.to_string(),
        })
    }

    #[test]
    fn a_file_is_read_with_its_defaults() {
        let text = r#"(graph: "g.ron", variants: [
            (name: "as it is", expect: Trains, published: "72.8 / 76.1"),
            (name: "hot", set: ["center.temperature=Constant(1)"], expect: Collapses(ToUniform)),
        ])"#;
        let spec = read_file(text).unwrap();
        assert!(spec.graph.ends_with("g.ron") && spec.graph.is_absolute());
        assert_eq!(spec.seeds, [0]);
        assert_eq!(spec.variants[0].published.as_deref(), Some("72.8 / 76.1"));
        assert_eq!(spec.variants[1].expect, Some(Expect::Collapses(Way::ToUniform)));
        let grid = r#"(graph: "g.ron", seeds: [1, 2],
            grid: {"optimizer.lr": ["1e-3", "2e-3"], "center.temperature": ["Constant(0.04)"]})"#;
        let spec = read_file(grid).unwrap();
        let names: Vec<&str> = spec.variants.iter().map(|variant| variant.name.as_str()).collect();
        assert_eq!(names, ["lr=1e-3 temperature=Constant(0.04)", "lr=2e-3 temperature=Constant(0.04)"]);
        assert_eq!(spec.variants[1].set, ["optimizer.lr=2e-3", "center.temperature=Constant(0.04)"]);
    }

    #[test]
    fn what_is_wrong_is_shown_at_its_place() {
        let check = |text: &str, said: &[&str]| {
            let shown = read_file(text).unwrap_err();
            said.iter().for_each(|said| assert!(shown.contains(said), "{said} in {shown}"));
        };
        check(r#"(graph: "g.ron", varients: [])"#, &["unknown key `varients`", "did you mean `variants`?"]);
        check(r#"(variants: [(name: "a")])"#, &["the key `graph` is missing"]);
        check(r#"(graph: "g.ron")"#, &["variants or a grid", "found neither"]);
        check(r#"(graph: "g.ron", variants: [(name: "a")], grid: {"b": ["1"]})"#, &["found both"]);
        check(
            r#"(graph: "g.ron", seeds: [1, 1], variants: [(name: "a/b"), (name: "c"), (name: "C")])"#,
            &["a seed stands twice", "found \"a/b\"", "a name stands twice"],
        );
        check(
            r#"(graph: "g.ron", variants: [(name: "a", expect: Collapses(ToNothing), set: "x=1")])"#,
            &["unknown name `ToNothing`", "`ToUniform`, `ToOnePrototype` or `ToOneTarget`", "a list"],
        );
        check("(graph: \"g.ron\",", &["not RON"]);
    }
}
