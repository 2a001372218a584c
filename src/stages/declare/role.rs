//! The parts that stages play.

/// The part a stage plays; a swap stays within a role, and a role's variants have the same ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Says which picture comes next, and holds its bytes.
    Source,
    /// Bytes to 8-bit RGB.
    Decode,
    /// A picture to its global and local crops.
    MultiCrop,
    /// The crops of a batch to tensors.
    Collate,
    /// The network that is trained, on every crop.
    Student,
    /// The network that the student follows, on the global crops.
    Teacher,
    /// A network between student and loss, trained with the student and not followed by the teacher.
    Predictor,
    /// The teacher's logits to the student's targets.
    Center,
    /// The student's logits and their targets to a number, and to the gradient of the logits.
    Loss,
    /// Owns the student's weights and updates them.
    Optimizer,
    /// Owns the teacher's weights: a moving average of the student's.
    Ema,
    /// Evaluates both networks between steps.
    Knn,
    /// Draws where a network looks, between steps.
    Attention,
    /// Says when checkpoints are written.
    Checkpoint,
    /// A role that a user's crate brings.
    Other(String),
}

impl Role {
    /// The word for it: a preset's folder, and a node's name as a rule.
    pub fn word(&self) -> &str {
        match self {
            Role::Source => "source",
            Role::Decode => "decode",
            Role::MultiCrop => "multi_crop",
            Role::Collate => "collate",
            Role::Student => "student",
            Role::Teacher => "teacher",
            Role::Predictor => "predictor",
            Role::Center => "center",
            Role::Loss => "loss",
            Role::Optimizer => "optimizer",
            Role::Ema => "ema",
            Role::Knn => "knn",
            Role::Attention => "attention",
            Role::Checkpoint => "checkpoint",
            Role::Other(word) => word,
        }
    }

    /// The role of this word, if it is one of dinoflow's own.
    pub fn of(word: &str) -> Option<Role> {
        const OWN: [Role; 14] = [
            Role::Source,
            Role::Decode,
            Role::MultiCrop,
            Role::Collate,
            Role::Student,
            Role::Teacher,
            Role::Predictor,
            Role::Center,
            Role::Loss,
            Role::Optimizer,
            Role::Ema,
            Role::Knn,
            Role::Attention,
            Role::Checkpoint,
        ];
        OWN.into_iter().find(|role| role.word() == word)
    }
}
