//! Broken graphs: each edit of a good one gets the right message at the right place, and all of them at once.

use std::fmt::Write;

use dinoflow::graph::load::{Loaded, Request, load_text};
use dinoflow::graph::problem::{Diagnostic, Severity};
use dinoflow::graph::report;
use dinoflow::graph::tree::{Body, Tree, Value};
use dinoflow::graph::write::to_ron;
use dinoflow::plan::Plan;
use dinoflow::plan::build;
use dinoflow::stages::Registry;

const GOOD: &str = include_str!("graphs/good.ron");

/// What is done to the good graph, and what must be said of it: the text at each error's place, and words of its message.
struct Broken {
    name: &'static str,
    /// Texts that are replaced in the file.
    edits: &'static [(&'static str, &'static str)],
    without: &'static [&'static str],
    swaps: &'static [&'static str],
    sets: &'static [&'static str],
    errors: &'static [(&'static str, &'static str)],
}

const fn file(
    name: &'static str,
    edits: &'static [(&'static str, &'static str)],
    errors: &'static [(&'static str, &'static str)],
) -> Broken {
    Broken { name, edits, without: &[], swaps: &[], sets: &[], errors }
}

const fn set(
    name: &'static str,
    sets: &'static [&'static str],
    errors: &'static [(&'static str, &'static str)],
) -> Broken {
    Broken { name, edits: &[], without: &[], swaps: &[], sets, errors }
}

const fn swap(
    name: &'static str,
    swaps: &'static [&'static str],
    errors: &'static [(&'static str, &'static str)],
) -> Broken {
    Broken { name, edits: &[], without: &[], swaps, sets: &[], errors }
}

const fn without(
    name: &'static str,
    without: &'static [&'static str],
    errors: &'static [(&'static str, &'static str)],
) -> Broken {
    Broken { name, edits: &[], without, swaps: &[], sets: &[], errors }
}

const BROKEN: &[Broken] = &[
    // the text
    file("a missing comma", &[("seed: 0,", "seed: 0")], &[("global_batch", "not RON")]),
    file("an open string", &[("name: \"quickstart\"", "name: \"quickstart")], &[("input", "not RON")]),
    file("a key twice", &[("seed: 0,", "seed: 0, seed: 1,")], &[("seed", "`seed` stands twice")]),
    file("a node twice", &[("\"decode\": (", "\"source\": (")], &[("\"source\"", "`source` stands twice")]),
    file("values too deep", &[("seed: 0,", "seed: NESTED,")], &[("[", "too deep")]),
    // keys and types
    file("an unknown key of the graph", &[("seed: 0,", "sed: 0,")], &[("sed", "unknown key `sed`")]),
    file("an unknown parameter", &[("lr: 0.001", "lrr: 0.001")], &[("lrr", "unknown key `lrr`")]),
    file(
        "an unknown key of a node",
        &[("(stage: CrossEntropy()", "(stag: CrossEntropy()")],
        &[("(", "the key `stage` is missing"), ("stag", "unknown key `stag`")],
    ),
    file("a missing key", &[("global_batch: 64,", "")], &[("(", "the key `global_batch` is missing")]),
    file(
        "a string for a number",
        &[("global_batch: 64", "global_batch: \"64\"")],
        &[("\"64\"", "is of the wrong type")],
    ),
    file(
        "an unknown stage",
        &[("stage: Centering(", "stage: Centring(")],
        &[("Centring", "unknown name `Centring`")],
    ),
    file(
        "a length without its unit",
        &[("duration: Epochs(20)", "duration: 20")],
        &[("20", "is of the wrong type")],
    ),
    file(
        "half a step",
        &[("duration: Epochs(20)", "duration: Steps(2.5)")],
        &[("2.5", "is of the wrong type")],
    ),
    file(
        "an unregistered stage",
        &[("stage: CrossEntropy()", "stage: Custom(kind: \"mine\", with: ())")],
        &[("\"mine\"", "custom stage `mine`")],
    ),
    // wires
    file(
        "an unknown producer",
        &[("\"teacher/logits\"", "\"techer/logits\"")],
        &[("\"techer/logits\"", "no node `techer`")],
    ),
    file(
        "an unknown output",
        &[("\"teacher/logits\"", "\"teacher/logit\"")],
        &[("\"teacher/logit\"", "`teacher` has no output `logit`")],
    ),
    file(
        "an unknown input",
        &[("{\"logits\": \"teacher", "{\"logit\": \"teacher")],
        &[
            ("\"center\"", "the input `logits` of `center` is not wired"),
            ("\"logit\"", "`center` has no input `logit`"),
        ],
    ),
    file("no wire at all", &[("\"teacher/logits\"", "\"teacher\"")], &[("\"teacher\"", "not a wire")]),
    file(
        "an unwired input",
        &[(", \"targets\": \"center/targets\"", "")],
        &[("\"loss\"", "the input `targets` of `loss` is not wired")],
    ),
    file(
        "an input wired twice",
        &[(
            "feedback: {\"weights\": \"ema/weights\"}",
            "feedback: {\"weights\": \"ema/weights\", \"global\": \"collate/global\"}",
        )],
        &[
            ("\"collate/global\"", "`teacher/global` is wired twice"),
            ("\"collate/global\"", "`teacher/global` is wired in the wrong place"),
        ],
    ),
    file(
        "a cycle",
        &[(
            "inputs: {\"global\": \"collate/global\", \"local\": \"collate/local\"},\n      feedback: {\"weights\": \
             \"optimizer/weights\"},",
            "inputs: {\"global\": \"collate/global\", \"weights\": \"optimizer/weights\"},",
        )],
        &[(
            "\"optimizer/weights\"",
            "a cycle without feedback: student -> student/backward -> optimizer -> student",
        )],
    ),
    file(
        "a node that waits for itself",
        &[("\"teacher/logits\"", "\"center/targets\"")],
        &[("\"center/targets\"", "a cycle without feedback: center -> center")],
    ),
    file(
        "feedback where this step's value belongs",
        &[(
            "inputs: {\"student\": \"optimizer/weights\"},\n    ),\n\n    // Between",
            "feedback: {\"student\": \"optimizer/weights\"},\n    ),\n\n    // Between",
        )],
        &[("\"optimizer/weights\"", "`ema/student` is wired in the wrong place")],
    ),
    // types along the wires
    file(
        "shapes that don't fit",
        &[("\"center/targets\"", "\"teacher/cls\"")],
        &[("\"teacher/cls\"", "what arrives at `loss/targets`, from `teacher/cls`, does not fit")],
    ),
    file(
        "crops where logits belong",
        &[("\"teacher/logits\"", "\"collate/global\"")],
        &[("\"collate/global\"", "what arrives at `center/logits`")],
    ),
    file(
        "numbers where weights belong",
        &[(
            "{\"student\": \"optimizer/weights\", \"teacher\"",
            "{\"student\": \"student/logits\", \"teacher\"",
        )],
        &[("\"student/logits\"", "what arrives at `knn/student`")],
    ),
    file(
        "pictures where crops belong",
        &[("\"multi_crop/crops\"", "\"decode/images\"")],
        &[("\"decode/images\"", "what arrives at `collate/crops`")],
    ),
    file(
        "nothing to learn from",
        &[("\"logits\": \"student/logits\"", "\"logits\": \"teacher/logits\"")],
        &[("AdamW", "`optimizer` trains `student`, but no gradient reaches it")],
    ),
    // what a loss needs
    Broken {
        name: "a loss with nothing to be held against",
        edits: &[(", \"teacher\": \"center/centered\"", "")],
        without: &[],
        swaps: &["loss=MeanSquaredError()"],
        sets: &[],
        errors: &[("\"loss\"", "the input `teacher` of `loss` is not wired")],
    },
    Broken {
        name: "KoLeo without features",
        edits: &[(", \"cls\": \"student/cls\"", "")],
        without: &[],
        swaps: &["loss=SwappedPrediction(koleo: 0.1)"],
        sets: &[],
        errors: &[("\"loss\"", "the input `cls` of `loss` is not wired")],
    },
    set(
        "KoLeo of micro-batches",
        &["network.head.batch_norm=false", "micro_batch=16", "loss.koleo=0.1"],
        &[("16", "`micro_batch` does not fit `loss`")],
    ),
    Broken {
        name: "codes of micro-batches",
        edits: &[],
        without: &[],
        swaps: &["loss=SwappedPrediction()"],
        sets: &["network.head.batch_norm=false", "micro_batch=16"],
        errors: &[("16", "`micro_batch` does not fit `loss`")],
    },
    set(
        "a single view",
        &["multi_crop.global_crops=1", "multi_crop.local_crops=0"],
        &[("\"student/logits\"", "what arrives at `loss/logits`")],
    ),
    swap("an empty queue", &["loss=InfoNce(queue: 0)"], &[("0", "`queue` of `loss` does not fit")]),
    // sizes
    set(
        "no crop for the teacher",
        &["multi_crop.global_crops=0"],
        &[("0", "`global_crops` of `multi_crop` does not fit")],
    ),
    file(
        "a crop that the patch does not divide",
        &[("global_size: 32", "global_size: 36")],
        &[("36", "`global_size` of `multi_crop` does not fit")],
    ),
    file(
        "an image that the patch does not divide",
        &[("image: 32", "image: 30")],
        &[("30", "`network.backbone.image` does not fit")],
    ),
    file(
        "a patch that no network has",
        &[("patch: 8", "patch: 7")],
        &[
            ("7", "`network.backbone.patch` does not fit"),
            ("32", "`global_size` of `multi_crop` does not fit"),
            ("16", "`local_size` of `multi_crop` does not fit"),
        ],
    ),
    set(
        "a patch that convolutions can't halve down to",
        &[
            "network.backbone.stem=Conv",
            "network.backbone.patch=14",
            "network.backbone.image=28",
            "multi_crop.global_size=28",
            "multi_crop.local_size=14",
        ],
        &[("14", "`network.backbone.patch` does not fit")],
    ),
    file(
        "a batch larger than the source",
        &[("global_batch: 64", "global_batch: 10000")],
        &[("10000", "`global_batch` does not fit")],
    ),
    set(
        "a micro-batch that does not divide the batch",
        &["micro_batch=48", "network.head.batch_norm=false"],
        &[("48", "`micro_batch` does not fit")],
    ),
    set(
        "micro-batches under batch norm",
        &["micro_batch=16"],
        &[("16", "`micro_batch` does not fit `student`")],
    ),
    set(
        "micro-batches under a residual network",
        &[
            "network.backbone=ResNet18(stem: Small)",
            "network.head.batch_norm=false",
            "network.drop_path=0.0",
            "micro_batch=16",
        ],
        &[("16", "`micro_batch` does not fit `student`")],
    ),
    set(
        "stochastic depth in a residual network",
        &["network.backbone=ResNet18(stem: Small)", "network.drop_path=0.125"],
        &[("0.125", "`network.drop_path` does not fit")],
    ),
    set(
        "a residual network that computes its blocks again",
        &["network.backbone=ResNet18(stem: Small)", "network.drop_path=0.0", "network.recompute=Blocks"],
        &[("Blocks", "`network.recompute` does not fit")],
    ),
    set(
        "a head of more layers than there are",
        &["network.head.layers=5"],
        &[("5", "`network.head.layers` does not fit")],
    ),
    // schedules
    file(
        "a warm-up longer than the run",
        &[("warmup: Epochs(2)", "warmup: Epochs(30)")],
        &[("Epochs(30)", "`lr_course.warmup` of `optimizer` does not fit")],
    ),
    set(
        "a warm-up in steps longer than the run",
        &["optimizer.lr_course.warmup=Steps(100000)"],
        &[("Steps(100000)", "`lr_course.warmup` of `optimizer` does not fit")],
    ),
    set(
        "more than the whole run",
        &["optimizer.freeze_last_layer=Fraction(1.5)"],
        &[("Fraction(1.5)", "`freeze_last_layer` of `optimizer` does not fit")],
    ),
    set(
        "a bound of nothing on all gradients",
        &["optimizer.clip=Global(0.0)"],
        &[("0.0", "`clip.0` of `optimizer` does not fit")],
    ),
    swap(
        "a velocity that never fades",
        &["optimizer=Sgd(momentum: 1.0, lr_course: Constant)"],
        &[("1.0", "`momentum` of `optimizer` does not fit")],
    ),
    swap(
        "no trust at all",
        &["optimizer=Lars(trust: 0.0, momentum: NaN, lr_course: Constant)"],
        &[("0.0", "`trust` of `optimizer` does not fit"), ("NaN", "`momentum` of `optimizer` does not fit")],
    ),
    swap(
        "a teacher's rule with a parameter that it has not",
        &["ema=StudentCopy(momentum: 0.9)"],
        &[("momentum", "unknown key `momentum`")],
    ),
    set(
        "a run that is a fraction",
        &["duration=Fraction(0.5)"],
        &[("Fraction(0.5)", "`duration` does not fit")],
    ),
    set(
        "a run without a step",
        &["duration=Epochs(0.001)"],
        &[
            ("Epochs(2)", "`lr_course.warmup` of `optimizer` does not fit"),
            ("Epochs(0.001)", "`duration` does not fit"),
        ],
    ),
    set(
        "checkpoints at every nothing",
        &["checkpoint.every=Steps(0)"],
        &[("Steps(0)", "`every` of `checkpoint` does not fit")],
    ),
    // numbers
    file(
        "a learning rate that is no number",
        &[("lr: 0.001", "lr: NaN")],
        &[("NaN", "`lr` of `optimizer` does not fit")],
    ),
    set(
        "a learning rate below nothing",
        &["optimizer.lr=-0.1"],
        &[("-0.1", "`lr` of `optimizer` does not fit")],
    ),
    set(
        "a moment that forgets nothing",
        &["optimizer.betas.1=1.0"],
        &[("1.0", "`betas.1` of `optimizer` does not fit")],
    ),
    set("no temperature", &["loss.temperature=0"], &[("0", "`temperature` of `loss` does not fit")]),
    set(
        "a schedule that ends out of range",
        &["ema.momentum=Cosine(from: 0.99, to: 1.5)"],
        &[("1.5", "`momentum.to` of `ema` does not fit")],
    ),
    set(
        "an infinite bound",
        &["optimizer.clip=PerParameter(inf)"],
        &[("inf", "`clip.0` of `optimizer` does not fit")],
    ),
    set("no prototypes", &["network.head.out_dim=0"], &[("0", "`network.head.out_dim` does not fit")]),
    set("every block left out", &["network.drop_path=1"], &[("1", "`network.drop_path` does not fit")]),
    set("no threads", &["decode.workers=0"], &[("0", "`workers` of `decode` does not fit")]),
    set("more than a certainty", &["multi_crop.flip=1.5"], &[("1.5", "`flip` of `multi_crop` does not fit")]),
    set(
        "a deviation of nothing",
        &["collate.deviation.0=0"],
        &[("0", "`deviation.0` of `collate` does not fit")],
    ),
    set("no neighbours", &["knn.k=[0]"], &[("0", "`k.0` of `knn` does not fit")]),
    set(
        "neighbours from a loss",
        &["knn.train=CrossEntropy()"],
        &[("CrossEntropy()", "`train` of `knn` does not fit")],
    ),
    set(
        "a wrong number within a source's source",
        &["knn.val.size=0"],
        &[("0", "`val.size` of `knn` does not fit")],
    ),
    set("16-bit floats on the CPU", &["precision=F16"], &[("F16", "`precision` does not fit")]),
    set("a name that is no folder", &["name=\"a/b\""], &[("\"a/b\"", "`name` does not fit")]),
    // roles
    swap(
        "a swap to another role",
        &["center=CrossEntropy()"],
        &[("CrossEntropy()", "a stage of another role in `center`")],
    ),
    swap(
        "a swap to another role's preset",
        &["center=stages/loss/cross_entropy.ron"],
        &[("stages/loss/cross_entropy.ron", "a stage of another role in `center`")],
    ),
    file(
        "a stage against its node's name",
        &[("stage: CrossEntropy()", "stage: Checkpoint()")],
        &[("Checkpoint()", "a stage of another role in `loss`")],
    ),
    file(
        "a second source",
        &[("\"decode\": (stage", "\"more\": (stage: Synthetic()),\n    \"decode\": (stage")],
        &[("\"more\"", "a second node of role `source`")],
    ),
    file(
        "no optimizer's name for a node",
        &[("\"decode\": (stage", "\"seed\": (stage: Synthetic()),\n    \"decode\": (stage")],
        &[("\"seed\"", "no name for a node"), ("\"seed\"", "a second node of role `source`")],
    ),
    set(
        "training a node that isn't there",
        &["optimizer.trains=[\"studnt\"]"],
        &[("\"studnt\"", "no node `studnt` to train")],
    ),
    set(
        "training what has no weights",
        &["optimizer.trains=[\"loss\"]"],
        &[("\"loss\"", "`loss` has no weights to train")],
    ),
    set(
        "training someone else's weights",
        &["optimizer.trains=[\"teacher\"]"],
        &[("\"ema/weights\"", "`optimizer` trains `teacher`, which takes its weights from elsewhere")],
    ),
    // presets and arguments
    file(
        "a preset that isn't there",
        &[("stage: CrossEntropy()", "stage: \"stages/loss/cros_entropy.ron\"")],
        &[("\"stages/loss/cros_entropy.ron\"", "no such preset")],
    ),
    swap("a swap of a node that isn't there", &["centre=Centering()"], &[("centre", "no node `centre`")]),
    swap("a swap without a value", &["center"], &[("center", "--swap takes NODE=PRESET or NODE=RON")]),
    swap("a swap that is no RON", &["center=Centering(momentum 0.9)"], &[("0.9", "not RON")]),
    swap(
        "a swap with an unknown parameter",
        &["center=Centering(momentun: 0.9)"],
        &[("momentun", "unknown key `momentun`")],
    ),
    set(
        "a set of a node that isn't there",
        &["optimiser.lr=0.1"],
        &[("optimiser", "no key or node `optimiser`")],
    ),
    set("a set of an unknown parameter", &["optimizer.lrr=0.1"], &[("lrr", "unknown key `lrr`")]),
    set(
        "a set below an unknown parameter",
        &["optimizer.course.end=0.1"],
        &[("course", "no key `course` here")],
    ),
    set(
        "a set of a whole node",
        &["optimizer=AdamW()"],
        &[("optimizer", "a node is set by one of its parameters")],
    ),
    set("a set of the wrong type", &["optimizer.lr=fast"], &[("fast", "is of the wrong type")]),
    set("a set below a number", &["optimizer.lr.peak=1"], &[("peak", "there is no part `peak` to set here")]),
    set("a set of a bare path", &["network.init=Weights(/tmp/x)"], &[("/", "not RON")]),
    set("a set without a value", &["seed"], &[("seed", "--set takes PATH=VALUE")]),
    // nodes left out
    without("a node left out that isn't there", &["kn"], &[("kn", "no node `kn`")]),
    without("a node left out twice", &["knn", "knn"], &[("knn", "no node `knn`")]),
    without(
        "a node left out that others need",
        &["ema"],
        &[("\"ema/weights\"", "no node `ema`"), ("\"ema/weights\"", "no node `ema`")],
    ),
    without(
        "nobody left to train",
        &["optimizer"],
        &[
            ("nodes", "no node of role `optimizer`"),
            ("\"optimizer/weights\"", "no node `optimizer`"),
            ("\"optimizer/weights\"", "no node `optimizer`"),
            ("\"optimizer/weights\"", "no node `optimizer`"),
        ],
    ),
    Broken {
        name: "an edit of a node that is left out",
        edits: &[],
        without: &["knn"],
        swaps: &["knn=Knn()"],
        sets: &["knn.k=[1]"],
        errors: &[("knn", "no node `knn`"), ("knn", "no key or node `knn`")],
    },
    // what can't be read is held against nothing
    set(
        "a run of no length against a long warm-up",
        &["optimizer.lr_course.warmup=Steps(1000000000000)", "duration=10"],
        &[("10", "`duration` is of the wrong type")],
    ),
    set(
        "neighbours of who knows how many",
        &["knn.train.count=\"many\""],
        &[("\"many\"", "`train.count` is of the wrong type")],
    ),
    set(
        "steps of who knows how many pictures",
        &["optimizer.lr_course.warmup=Steps(10)", "source.count=\"many\""],
        &[("\"many\"", "`count` is of the wrong type")],
    ),
    set(
        "a picture that was to be resized to less than no number",
        &["knn.resize=16", "knn.crop=\"half\""],
        &[("\"half\"", "`crop` is of the wrong type")],
    ),
    // everything at once
    Broken {
        name: "many things at once",
        edits: &[
            ("seed: 0,", "sed: 0,"),
            ("lr: 0.001", "lr: \"fast\""),
            ("\"teacher/logits\"", "\"teacher/logit\""),
            ("global_size: 32", "global_size: 36"),
        ],
        without: &[],
        swaps: &["loss=Centering()"],
        sets: &["micro_batch=16", "knn.temperature=NaN"],
        errors: &[
            ("sed", "unknown key `sed`"),
            ("36", "`global_size` of `multi_crop` does not fit"),
            ("\"teacher/logit\"", "`teacher` has no output `logit`"),
            ("\"fast\"", "is of the wrong type"),
            ("Centering()", "a stage of another role in `loss`"),
            ("16", "`micro_batch` does not fit `student`"),
            ("NaN", "`temperature` of `knn` does not fit"),
        ],
    },
];

fn load(broken: &Broken) -> Loaded {
    let mut text = GOOD.to_owned();
    for (from, to) in broken.edits {
        assert!(text.contains(from), "{}: the good graph has no {from:?}", broken.name);
        let to = to.replace("NESTED", &("[".repeat(200) + &"]".repeat(200)));
        text = text.replacen(from, &to, 1);
    }
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let request = Request {
        graph: "broken.ron".into(),
        without: owned(broken.without),
        swaps: owned(broken.swaps),
        sets: owned(broken.sets),
        auto: dinoflow::graph::spec::DeviceChoice::Cpu,
    };
    load_text(&text, &request)
}

fn judge(loaded: &Loaded) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    build::plan(loaded, &Registry::default())
}

#[test]
fn each_broken_graph_gets_the_right_message_at_the_right_place() {
    assert!(BROKEN.len() >= 30);
    let mut wrong = String::new();
    for broken in BROKEN {
        let loaded = load(broken);
        let problems = judge(&loaded).err().unwrap_or_default();
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        let found: Vec<(&str, &str)> =
            errors.map(|error| (loaded.origins.at(&error.place), error.what.as_str())).collect();
        let fits = |(found, expected): (&(&str, &str), &(&str, &str))| {
            found.0 == expected.0 && found.1.contains(expected.1)
        };
        if found.len() != broken.errors.len() || !found.iter().zip(broken.errors).all(fits) {
            writeln!(wrong, "{}:\n  found {found:?}\n  not   {:?}", broken.name, broken.errors).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn broken_graphs_as_they_are_printed() {
    let mut out = String::new();
    for broken in BROKEN {
        let loaded = load(broken);
        let problems = judge(&loaded).err().unwrap_or_default();
        writeln!(out, "## {}\n\n{}", broken.name, report::text(&problems, &loaded.origins)).unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_graph_with_notes_alone_is_planned() {
    let sets = &[
        "center.temperature=Linear(from: 0.04, to: 0.07, over: Epochs(30))",
        "optimizer.lr_course=Constant",
    ];
    let loaded = load(&set("notes", sets, &[]));
    let (_, notes) = judge(&loaded).unwrap();
    let whats: Vec<&str> = notes.iter().map(|note| note.what.as_str()).collect();
    assert_eq!(whats, ["`temperature.over` of `center` does not fit"]);
    assert!(notes.iter().all(|note| note.severity == Severity::Note));
}

/// The way to every number, text and name in a tree.
fn leaves(tree: &Tree, path: &str, out: &mut Vec<String>) {
    let mut down = |step: &str, child: &Tree| leaves(child, &format!("{path}.{step}"), out);
    let items = |items: &[Tree], down: &mut dyn FnMut(&str, &Tree)| {
        items.iter().enumerate().for_each(|(index, item)| down(&index.to_string(), item));
    };
    match &tree.value {
        Value::List(list) if !list.is_empty() => items(list, &mut down),
        Value::Map(entries) => entries.iter().for_each(|(key, value)| {
            let Value::Str(key) = &key.value else { panic!("a key that is no text") };
            down(key, value);
        }),
        Value::Shape { body: Body::Fields(fields), .. } => {
            fields.iter().for_each(|field| down(&field.key, &field.value));
        }
        Value::Shape { body: Body::Tuple(tuple), .. } if !tuple.is_empty() => items(tuple, &mut down),
        _ => out.push(path.trim_start_matches('.').to_owned()),
    }
}

#[test]
fn a_value_that_can_not_be_read_is_one_error() {
    // all that is judged by another value stands close to its bound
    let sets = [
        "optimizer.lr_course.warmup=Steps(2500)",
        "optimizer.freeze_last_layer=Epochs(20)",
        "center.temperature=Linear(from: 0.04, to: 0.07, over: Epochs(20))",
        "knn.k=[10, 20]",
        "knn.crop=Some(32)",
        "knn.resize=Some(36)",
        "network.head.batch_norm=true",
    ];
    let load = |text: &str, sets: &[&str]| {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        load_text(text, &Request { graph: "graph.ron".into(), sets, ..Request::default() })
    };
    let good = load(GOOD, &sets);
    assert_eq!(judge(&good).map(|(_, notes)| notes), Ok(vec![]));
    // with all defaults written out
    let text = to_ron(good.spec.as_ref().unwrap()).unwrap();
    let mut paths = Vec::new();
    leaves(&load(&text, &[]).tree, "", &mut paths);
    assert!(paths.len() > 100, "{paths:?}");
    let mut wrong = String::new();
    for path in paths {
        // no value is a character
        let loaded = load(&text, &[&format!("{path}='x'")]);
        let problems = judge(&loaded).err().unwrap_or_default();
        let what: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
        if what.len() != 1 {
            writeln!(wrong, "{path}: {what:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_residual_network_takes_crops_of_any_size_and_unused_keys_are_noted() {
    let check = |sets: &[&str], noted: &[&str]| {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let loaded = load_text(GOOD, &Request { graph: "graph.ron".into(), sets, ..Request::default() });
        let (_, notes) = judge(&loaded).unwrap();
        let keys: Vec<_> = notes.iter().filter_map(|note| note.key.as_deref()).collect();
        assert_eq!(keys, noted);
    };
    let sizes = ["knn.crop=Some(31)", "multi_crop.global_size=33", "multi_crop.local_size=17"];
    for backbone in ["ResNet18(stem: Small)", "ResNet50()", "ResNet50(stem: ImageNet)"] {
        let backbone = format!("network.backbone={backbone}");
        check(&[&sizes[..], &[&backbone]].concat(), &[]);
    }
    let bare = ["network.head.prototypes=false", "network.head.layers=1", "network.head.out_dim=8"];
    check(
        &[&bare[..], &["network.head.hidden=8"]].concat(),
        &["network.head.out_dim", "network.head.hidden"],
    );
}
