//! The network that is judged: a run's folder, a checkpoint's, or a file of weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classifier::Rows;
use super::extractor::{Extractor, Placed, Told};
use super::features::{Unreadable, Wanted, each_batch, labels};
use super::view::View;
use crate::data::source::Images;
use crate::error::Error;
use crate::graph::load::{Request, load};
use crate::graph::spec::{GraphSpec, HeadSpec, NetworkSpec};
use crate::kernels::{Kernels, Products};
use crate::nn::architectures;
use crate::nn::network::Asked;
use crate::nn::statistics::Averages;
use crate::nn::weights::load as load_parameters;
use crate::runtime::stage::StageError;
use crate::weights::{self, Format, Preprocessing, Which};

/// How a network is to be opened and shown pictures.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub which: Which,
    /// The shorter side in pixels after resizing; 256/224 of the crop where none is given.
    pub resize: Option<usize>,
    /// The side in pixels of the centre crop; that of the network's own pictures where none is given.
    pub crop: Option<usize>,
    pub products: Products,
}

/// A backbone with its weights; its head, which no evaluation asks for, is left out. Protocols that only ask it for features don't see
/// where it lives; one that trains it does (`Subject<Placed<D>>`).
pub struct Subject<N = Box<dyn Extractor>> {
    /// Where the weights come from.
    pub path: PathBuf,
    /// Which of two networks it is; none where there is one alone.
    pub which: Option<Which>,
    pub spec: NetworkSpec,
    /// The network, where it lives.
    pub placed: N,
    pub view: View,
    /// The precision of products and activations.
    pub products: Products,
}

impl<D: Kernels> Subject<Placed<D>> {
    /// Reads weights, and how pictures were shown to them where that is known.
    ///
    /// # Errors
    /// [`Error::Request`] when the weights can't be read or used, or `crop` is no size of the network's.
    pub fn open(device: &D, path: &Path, ask: Ask) -> Result<Self, Error> {
        let opened = weights::open(path, ask.which).map_err(|e| Error::Request(e.to_string()))?;
        let graph = graph_of(path)?;
        // a run, a checkpoint of it, and the published training's file hold two
        let two =
            (path.is_dir() && opened.format == Format::Dinoflow) || opened.format == Format::PublishedFull;
        let which = two.then_some(ask.which);
        let mut spec = opened.network;
        spec.head = HeadSpec { layers: 1, bottleneck: 1, prototypes: false, ..HeadSpec::default() };
        let crop = crop(&spec, opened.shown.as_ref(), ask.crop)?;
        let mut view = match &graph {
            Some(graph) => View::of(graph, ask.resize, Some(crop)),
            None => View::plain(ask.resize, crop),
        };
        let shown = opened.shown.unwrap_or_default();
        view.mean = shown.mean.unwrap_or(view.mean);
        view.deviation = shown.deviation.unwrap_or(view.deviation);
        let refused = |e: StageError| Error::Request(format!("{}: {e}", path.display()));
        let mut network =
            architectures::build(device, &spec, ask.products, 0).map_err(|e| Error::Failed(e.to_string()))?;
        let mut state = opened.state;
        let averages = Averages::default();
        averages.begin(&state).map_err(|key| {
            Error::Request(format!("{}: the statistics of {key} are incomplete", path.display()))
        })?;
        let owned = Arc::get_mut(&mut network)
            .ok_or_else(|| Error::Failed("a network that was just made is shared".into()))?;
        let backbone = owned.parameters_mut().into_iter().filter(|p| p.name.starts_with("backbone."));
        load_parameters(device, backbone.collect(), &mut state, "").map_err(refused)?;
        let placed = Placed { device: device.clone(), network, averages };
        Ok(Subject { path: path.to_owned(), which, spec, placed, view, products: ask.products })
    }

    /// The same for whoever asks for features alone.
    pub fn anywhere(self) -> Subject {
        let Subject { path, which, spec, placed, view, products } = self;
        Subject { path, which, spec, placed: Box::new(placed), view, products }
    }
}

impl<N: Extractor> Subject<N> {
    /// Width of the features.
    pub fn width(&self) -> usize {
        self.placed.width()
    }

    /// What the network says of pictures (n, 3, height, width).
    ///
    /// # Errors
    /// When the device fails.
    pub fn answer(&self, pixels: Vec<f32>, size: (usize, usize), asked: Asked) -> Result<Told, Error> {
        self.placed.answer(pixels, size, asked).map_err(|e| Error::Failed(e.to_string()))
    }

    /// Features of pictures in the evaluation's view, (n, 3, crop, crop), as rows of [`Wanted::width`] numbers.
    ///
    /// # Errors
    /// When the device fails.
    pub fn features(&self, pixels: Vec<f32>, wanted: Wanted) -> Result<Vec<f32>, Error> {
        let told = self.answer(pixels, (self.view.crop, self.view.crop), wanted.asked())?;
        Ok(wanted.rows(&told, self.width()))
    }

    /// Features and labels of the pictures `which` of a source, of which those without a label are passed over, so many in the network at
    /// once; and those that can't be read. `done` hears how many were shown.
    ///
    /// # Errors
    /// When the device fails.
    pub fn rows(
        &self,
        images: &dyn Images,
        which: &[usize],
        (wanted, batch): (Wanted, usize),
        mut done: impl FnMut(usize),
    ) -> Result<(Rows, Vec<Unreadable>), Error> {
        let which: Vec<usize> =
            which.iter().copied().filter(|&index| images.label(index).is_some()).collect();
        let dim = wanted.width(self.width());
        // a vector that grows holds its numbers twice for a moment
        let (features, of) = (Vec::with_capacity(which.len() * dim), Vec::with_capacity(which.len()));
        let mut rows = Rows { dim, features, labels: of };
        let unreadable = each_batch(images, &which, self.view, batch, |shown| {
            rows.features.extend(self.features(shown.pixels, wanted)?);
            rows.labels.extend(labels(images, &shown.indices));
            done(shown.indices.len());
            Ok::<(), Error>(())
        })?;
        Ok((rows, unreadable))
    }

    /// What decides the numbers of an evaluation, for its record.
    pub fn to_json(&self) -> serde_json::Value {
        let View { resize, crop, mean, deviation, .. } = self.view;
        serde_json::json!({
            "weights": self.path.display().to_string(),
            "network": self.which.map(Which::key),
            "architecture": self.spec.backbone.label(),
            "width": self.width(),
            "precision": format!("{:?}", self.products).to_lowercase(),
            "resize": resize, "crop": crop, "mean": mean.map(written), "deviation": deviation.map(written),
        })
    }
}

/// A number with the digits that it was written with.
fn written(number: f32) -> f64 {
    (f64::from(number) * 1e6).round() / 1e6
}

/// How many times the side of a network's own pictures a file beside its weights may ask for. Memory grows with the fourth power.
const LARGEST: usize = 4;

/// The side of the centre crop.
fn crop(spec: &NetworkSpec, shown: Option<&Preprocessing>, asked: Option<usize>) -> Result<usize, Error> {
    let (image, said) = (spec.backbone.image(), shown.and_then(|shown| shown.crop));
    let (None, Some(said)) = (asked, said) else { return multiple(asked.unwrap_or(image), spec, "--crop") };
    if said > image.saturating_mul(LARGEST) {
        return Err(Error::Request(format!(
            "the settings beside the weights crop pictures to {said} pixels, over {LARGEST} times the {image} of {}; give --crop",
            spec.backbone.label()
        )));
    }
    multiple(said, spec, "the settings beside the weights crop pictures to")
}

/// A crop that the patches cover; `whose` says where it comes from.
fn multiple(crop: usize, spec: &NetworkSpec, whose: &str) -> Result<usize, Error> {
    let patch = spec.backbone.patch().max(1);
    if crop == 0 || !crop.is_multiple_of(patch) {
        let (below, above) =
            ((crop / patch).max(1).saturating_mul(patch), (crop / patch + 1).saturating_mul(patch));
        let instead = if whose == "--crop" { "" } else { " (give --crop)" };
        return Err(Error::Request(format!(
            "{whose} {crop}: the patch of {} is {patch} pixels; expected a multiple of it, such as {below} or {above}{instead}",
            spec.backbone.label()
        )));
    }
    Ok(crop)
}

/// The resolved graph of the run that a path is of: `RUN`, or `RUN/checkpoints/…`. None of weights that are no run's.
fn graph_of(path: &Path) -> Result<Option<GraphSpec>, Error> {
    let inside = path.ancestors().find(|folder| folder.ends_with("checkpoints")).and_then(Path::parent);
    let graph = inside.unwrap_or(path).join("graph.ron");
    if !graph.is_file() {
        return Ok(None);
    }
    let unreadable = || {
        let text = "it says how pictures were shown to the network, and can't be read";
        Error::Request(format!("{}: {text}; `dinoflow check` tells why", graph.display()))
    };
    load(&Request { graph: graph.clone(), ..Request::default() })?.spec.ok_or_else(unreadable).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_that_a_file_asks_for_is_bounded_and_said_to_be_the_files() {
        use crate::graph::spec::{Backbone, Stem, VitSpec};
        let backbone = Backbone::VitMicro(VitSpec { patch: 8, image: 32, stem: Stem::Patch, registers: 0 });
        let spec = NetworkSpec::new(backbone, HeadSpec::default());
        for (said, asked, expected) in [
            (None, None, Ok(32)),
            (Some(128), None, Ok(128)),
            (Some(136), None, Err("over 4 times the 32")),
            (Some(16384), Some(64), Ok(64)),
            (Some(30), None, Err("the settings beside the weights crop pictures to 30: the patch")),
            (Some(30), Some(36), Err("--crop 36: the patch")),
            (None, Some(0), Err("--crop 0: ")),
            (None, Some(usize::MAX), Err("--crop")),
        ] {
            let shown = Preprocessing { crop: said, ..Preprocessing::default() };
            match (crop(&spec, Some(&shown), asked), expected) {
                (Err(found), Err(words)) => {
                    let found = found.to_string();
                    assert!(found.contains(words), "{found:?} lacks {words:?}");
                    assert_eq!(found.starts_with("--crop"), asked.is_some(), "{found}");
                }
                (found, expected) => assert_eq!(found.ok(), expected.ok(), "{said:?} {asked:?}"),
            }
        }
    }

    #[test]
    fn weights_have_the_graph_of_their_own_run_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir_all(run.join("checkpoints/step-00000001")).unwrap();
        std::fs::write(run.join("graph.ron"), include_str!("../../graphs/quickstart.ron")).unwrap();
        let check = |path: &str, expected: bool| {
            let found = graph_of(&folder.path().join(path)).unwrap();
            assert_eq!(found.is_some(), expected, "{path}");
        };
        check("run", true);
        check("run/checkpoints/step-00000001", true);
        check("run/checkpoints/step-00000001/teacher.safetensors", true);
        // weights that happen to lie in a run's folder are not that run's
        check("run/other.pth", false);
        check("", false);
        std::fs::write(run.join("graph.ron"), "(").unwrap();
        let error = graph_of(&run).unwrap_err();
        assert!(error.exit_status() == 2 && error.to_string().contains("can't be read"), "{error}");
    }
}
