//! What stages share that look on between steps and show pictures to the networks: `knn` and `attention`.

use super::declare::*;
use super::range::Ranges;
use super::types::Types;

/// The inputs in their order, by the names that the record gives them.
pub const NETWORKS: [&str; 2] = ["student", "teacher"];

/// The graph's value that says which pictures a network takes.
pub const BACKBONE: &str = "network.backbone";

/// Weights of either network, or of both.
pub fn ports() -> Ports {
    let [student, teacher] = NETWORKS;
    Ports {
        inputs: vec![
            Port::new(student, "the student's weights").optional(),
            Port::new(teacher, "the teacher's weights").optional(),
        ],
        outputs: Vec::new(),
    }
}

/// Nothing comes of weights.
pub fn infer(given: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
    let mut types = Types::new(given);
    NETWORKS.iter().for_each(|name| types.only(name, &EdgeType::Weights));
    types.finish(Vec::new())
}

/// Judges the sides, in pixels, of the centre crop and before it, where they are given.
pub fn judge_view(crop: Option<usize>, resize: Option<usize>, ranges: &mut Ranges, scope: &Scope) {
    let backbone = &scope.graph.network.backbone;
    let patch = backbone.patch();
    if let Some(crop) = crop.filter(|crop| *crop == 0 || crop % patch.max(1) != 0) {
        let expected = format!("a side that the patch of {patch} divides");
        let problem = Problem::parameter("crop", expected, crop.to_string());
        ranges.push(problem.by(Fault::Graph(BACKBONE.into())));
    }
    if let Some(resize) = resize {
        ranges.count_by("crop", "resize", resize, crop.unwrap_or(backbone.image()), 1 << 14);
    }
}
