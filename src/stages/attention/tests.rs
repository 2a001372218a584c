//! Sheets of attention, drawn by the stage as a graph has it.

use dfdx::prelude::Cpu;

use super::*;
use crate::data::Rgb8;
use crate::graph::load::{Request, load_text};
use crate::graph::spec::GraphSpec;
use crate::nn::weights;
use crate::optim::schedule::Horizon;
use crate::report::pictures::sheet::cell;

/// The quickstart with these edits.
fn graph(sets: &[&str]) -> GraphSpec {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let request = Request { graph: "graphs/quickstart.ron".into(), sets, ..Request::default() };
    let loaded = load_text(include_str!("../../../graphs/quickstart.ron"), &request);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.spec.unwrap()
}

/// What a teacher of the first weights is drawn as after so many steps.
fn drawn(sets: &[&str], step: u64) -> Vec<Event> {
    let (graph, device) = (graph(sets), Cpu::default());
    let StageSpec::Maps(stage) = &graph.nodes["attention"].stage else { panic!("attention is no Maps") };
    let StageSpec::Synthetic(training) = &graph.nodes["source"].stage else { panic!("source draws nothing") };
    let training = source::open(&StageSpec::Synthetic(training.clone())).unwrap();
    let mut stage = Running::new(stage, &graph, Some(training), Default::default(), &device).unwrap();
    let network = weights::first(&device, &graph.network, graph.products(), graph.seed).unwrap();
    let values = [None, Some(Value::Weights(network))];
    let horizon = Horizon { steps_per_epoch: 1, total_steps: 1 };
    let mut events = Vec::new();
    let mut outputs = Outputs { values: &mut [], wanted: &[], metrics: &mut Vec::new(), events: &mut events };
    stage
        .fire(&Moment { step, micro: 0, micros: 1, horizon }, &mut Inputs { values: &values }, &mut outputs)
        .unwrap();
    events
}

#[test]
fn a_sheet_has_a_row_for_each_picture_and_a_column_for_each_head() {
    let check = |sets: &[&str], rows: usize, heads: usize| {
        let events = drawn(sets, 24);
        let [Event { name: "attention", fields, picture: Some(drawn) }] = &events[..] else {
            panic!("{sets:?}")
        };
        assert_eq!(drawn.name, "attention-step-00000024");
        assert_eq!(
            (&fields["network"], &fields["picture"]),
            (&"teacher".into(), &"attention-step-00000024.png".into())
        );
        assert_eq!(
            (&fields["pictures"], &fields["heads"], &fields["side"]),
            (&rows.into(), &heads.into(), &96.into())
        );
        // untrained, it looks nearly everywhere alike
        let entropy = fields["entropy"].as_f64().unwrap();
        assert!(entropy <= 16f64.ln() + 1e-6 && entropy > 0.9 * 16f64.ln(), "{entropy}");
        let last = cell(&drawn.picture, 96, rows - 1, heads + 1).unwrap();
        assert!(
            cell(&drawn.picture, 96, rows, 0).is_none() && cell(&drawn.picture, 96, 0, heads + 2).is_none()
        );
        let colors: std::collections::BTreeSet<[u8; 3]> =
            last.pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
        assert!(colors.len() > 9, "a map of {} colours", colors.len());
    };
    check(&[], 6, 2);
    check(&["attention.count=2", "network.backbone=VitTiny(patch: 8, image: 32)"], 2, 3);
}

#[test]
fn pictures_are_of_training_or_of_a_source_of_their_own() {
    let first = |sets: &[&str]| cell(&drawn(sets, 0)[0].picture.as_ref().unwrap().picture, 96, 0, 0).unwrap();
    let own: &[&str] = &["attention.pictures=Synthetic(count: 64, size: 32, seed: 5)"];
    assert_ne!(first(&[]), first(own));
    assert_ne!(first(&[]), Rgb8::new(96, 96));
    let nowhere = graph(&["attention.pictures=Folder(root: \"absent\")"]);
    let StageSpec::Maps(stage) = &nowhere.nodes["attention"].stage else { panic!("attention is no Maps") };
    let error = Running::new(stage, &nowhere, None, Default::default(), &Cpu::default()).err().unwrap();
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn a_residual_network_draws_nothing() {
    let small = "network.backbone=ResNet18(stem: Small)";
    assert!(drawn(&[small, "network.drop_path=0.0"], 0).is_empty());
    let graph = graph(&[small]);
    let StageSpec::Maps(stage) = &graph.nodes["attention"].stage else { panic!("attention is no Maps") };
    let scope = Scope { graph: &graph, global_batch: 64, micro_batch: 64, steps_per_epoch: None };
    let problems = stage.problems(&scope);
    assert!(problems.len() == 1 && problems[0].severity == Severity::Note, "{problems:?}");
}
