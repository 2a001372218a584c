//! `dinoflow stages`.

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use crate::error::Error;
use crate::graph::origin::Origins;
use crate::graph::parse::parse;
use crate::graph::preset::BUILT_IN;
use crate::graph::problem::{listing, nearest};
use crate::graph::read::read;
use crate::graph::tree::Tree;
use crate::plan::explain::words;
use crate::stages::{Declare, Port, Registry, StageSpec};

/// The arguments of `dinoflow stages`.
#[derive(Clone, Debug, Args)]
pub struct StagesArgs {
    /// A role, a stage or a preset's path: its ports, parameters and defaults [default: a list of all]
    name: Option<String>,
}

/// A stage as its preset documents it.
struct Documented {
    path: &'static str,
    about: String,
    tree: Tree,
    spec: StageSpec,
}

impl StagesArgs {
    pub fn run(&self, registry: &Registry) -> Result<(), Error> {
        let all = documented();
        let Some(name) = &self.name else { return super::say(&overview(&all, registry)) };
        let plain = |text: &str| text.to_lowercase().replace('_', "");
        let asked = |stage: &&Documented| {
            let role = stage.spec.built_in().map(|declared| declared.role().word().to_owned());
            role.is_some_and(|role| plain(&role) == plain(name))
                || plain(stage.spec.kind()) == plain(name)
                || stage.path == name
        };
        let found: Vec<&Documented> = all.iter().filter(asked).collect();
        if found.is_empty() {
            let known: Vec<&str> = all.iter().map(|stage| stage.spec.kind()).collect();
            let near = nearest(name, known.iter().copied());
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(Error::Request(format!("no stage `{name}`: expected {}{near}", listing(known))));
        }
        let pages: Vec<String> = found.into_iter().map(page).collect();
        super::say(&pages.join("\n"))
    }
}

/// Every stage that the binary brings along.
fn documented() -> Vec<Documented> {
    let mut out = Vec::new();
    for (path, text) in BUILT_IN {
        let id = Origins::default().add(*path, *text);
        // a test reads every preset
        let Ok(tree) = parse(text, id) else { continue };
        let Some(spec) = read::<StageSpec>(&tree, Default::default()).value else { continue };
        let comments = text.lines().take_while(|line| line.starts_with("//"));
        let about = comments.map(|line| line.trim_start_matches("//").trim()).collect::<Vec<_>>().join(" ");
        out.push(Documented { path, about, tree, spec });
    }
    out
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header.iter().copied());
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn overview(all: &[Documented], registry: &Registry) -> String {
    let mut table = table(&["role", "stage", "fires", "preset", "what it does"]);
    for stage in all {
        let Some(declared) = stage.spec.built_in() else { continue };
        let first = stage.about.split(". ").next().unwrap_or_default().trim_end_matches('.');
        table.add_row([
            declared.role().word(),
            stage.spec.kind(),
            words::rate(declared.rate()),
            stage.path,
            first,
        ]);
    }
    format!(
        "{table}\n\nOne of them with its ports and parameters: dinoflow stages NAME\n\
         In another's place: dinoflow run GRAPH --swap NODE={}\n\
         Stages of other crates: Custom(kind: \"name\", with: (…)); registered in this program: {}\n",
        BUILT_IN.first().map_or("", |(path, _)| path),
        match registry.kinds().next() {
            Some(_) => registry.kinds().collect::<Vec<_>>().join(", "),
            None => "none".into(),
        }
    )
}

fn page(stage: &Documented) -> String {
    let Some(declared) = stage.spec.built_in() else { return String::new() };
    let place = if declared.on_host() { "on host threads" } else { "on the island" };
    let mut out = format!(
        "{}, a stage of role `{}`: fires {}, {place}\n{}\npreset: {}\n\n",
        stage.spec.kind(),
        declared.role().word(),
        words::rate(declared.rate()),
        stage.about,
        stage.path
    );
    if let Some(ports) = ports(declared) {
        out += &format!("{ports}\n\n");
    }
    let fields = stage.tree.fields();
    if fields.is_empty() {
        return out + "It has no parameters.\n";
    }
    let mut table = table(&["parameter", "in the preset", "meaning"]);
    for field in fields {
        table.add_row([field.key.clone(), field.value.to_ron(), field.comment.clone()]);
    }
    out + &format!("{table}\n")
}

fn ports(declared: &dyn Declare) -> Option<Table> {
    let ports = declared.ports();
    let mut table = table(&["port", "", "what travels there"]);
    let row = |port: &Port, way: &str| {
        let mut words = vec![way];
        words.extend(port.optional.then_some("optional"));
        words.extend(port.feedback.then_some("feedback: the previous step's value"));
        words.extend(port.differentiable.then_some("a gradient flows back"));
        words.extend(port.mirrored.then_some("wired by the plan"));
        [port.name.to_owned(), words.join(", "), port.about.to_owned()]
    };
    table.add_rows(ports.inputs.iter().map(|port| row(port, "input")));
    table.add_rows(ports.outputs.iter().map(|port| row(port, "output")));
    (!table.is_empty()).then_some(table)
}
