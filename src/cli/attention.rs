//! `dinoflow attention`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::eval::subject::{NumbersArg, WeightsArgs};
use crate::data::source::Images;
use crate::data::{Rgb8, decode};
use crate::error::Error;
use crate::eval::attention::pca::Pca;
use crate::eval::attention::sheet::{Drawn, draw};
use crate::eval::attention::{Look, look};
use crate::eval::dataset;
use crate::eval::features::picture;
use crate::eval::subject::Subject;
use crate::report::count::Count;
use crate::report::pictures::attention::save_png;
use crate::report::pictures::video::Video;

/// The arguments of `dinoflow attention`.
#[derive(Clone, Debug, Args)]
pub struct AttentionArgs {
    /// A picture, a folder of pictures or of a video's frames, a list, a .tar file, or a source as RON
    #[arg(value_name = "IMAGE|FOLDER")]
    pictures: String,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    numbers: NumbersArg,
    /// The folder that the pictures are written to
    #[arg(long, short, value_name = "DIR", default_value = "attention")]
    output: PathBuf,
    /// The shorter side in pixels that pictures are shown at [default: 480/224 of that of the network's own pictures]
    #[arg(long, value_name = "PIXELS", conflicts_with = "own_size", value_parser = clap::value_parser!(u16).range(1..=16384))]
    size: Option<u16>,
    /// Shows pictures at their own size, but for what the patch does not divide
    #[arg(long)]
    own_size: bool,
    /// The share of a head's attention that its mask holds
    #[arg(long, default_value_t = 0.6)]
    threshold: f64,
    /// Joins the grids to an animation, `video.gif`, with so many frames a second
    #[arg(long, value_name = "FPS", value_parser = clap::value_parser!(u16).range(1..=50))]
    video: Option<u16>,
}

/// The animation's file.
const VIDEO: &str = "video.gif";

/// The most patches of one picture among them.
const MOST_PATCHES: usize = 4096;

/// Pictures whose features decide the colours of all: spread evenly.
const MOST_FITTED: usize = 16;

impl AttentionArgs {
    /// Draws where a network looks in each picture.
    pub fn run(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(Error::Request(format!(
                "--threshold {}: expected a share from 0 to 1",
                self.threshold
            )));
        }
        if self.output.is_file() {
            return Err(Error::Request(format!(
                "--output {}: a file; expected a folder",
                self.output.display()
            )));
        }
        let subject = self.weights.open(&self.numbers)?;
        let pictures = Pictures::open(&self.pictures)?;
        let pca = self.fit(&subject, &pictures)?;
        let mut video = self.start_video()?;
        let mut count = Count::new("pictures", pictures.len());
        let mut written = 0;
        for index in 0..pictures.len() {
            count.add(1);
            let shown = match pictures.read(index, &subject) {
                Ok(shown) => shown,
                Err(reason) if pictures.len() > 1 => {
                    count.say(&format!("left out {}: {reason}", pictures.name(index)));
                    continue;
                }
                Err(reason) => return Err(Error::Request(format!("{}: {reason}", pictures.name(index)))),
            };
            let drawn = draw(&self.look(&subject, &shown)?, &pca, self.threshold);
            self.write(&pictures.stem(index), &drawn)?;
            if let Some(video) = &mut video {
                video.add(&drawn.grid).map_err(self.no_video())?;
            }
            written += 1;
        }
        drop(count);
        if let Some(video) = video {
            video.save(&self.output.join(VIDEO)).map_err(self.no_video())?;
        }
        if written == 0 {
            return Err(Error::Request(format!("{}: no picture there can be read", self.pictures)));
        }
        super::say(&format!(
            "{written} {}: {}/<picture>/grid.png shows picture, mean and principal components, then each head's map and its {} of the mass\n",
            if written == 1 { "picture" } else { "pictures" },
            self.output.display(),
            self.threshold
        ))
    }

    fn look(&self, subject: &Subject, picture: &Rgb8) -> Result<Look, Error> {
        let usual = subject.spec.backbone.image() * 480 / 224;
        let shorter = match self.own_size {
            true => None,
            false => Some(self.size.map_or(usual, usize::from)),
        };
        look(subject, picture, shorter)
    }

    /// The principal components of some pictures' patches.
    fn fit(&self, subject: &Subject, pictures: &Pictures) -> Result<Pca, Error> {
        let (count, width) = (pictures.len().min(MOST_FITTED), subject.width());
        let mut patches = Vec::new();
        for at in 0..count {
            if let Ok(shown) = pictures.read(at * pictures.len() / count, subject) {
                let look = self.look(subject, &shown)?;
                let rows = look.patches.chunks_exact(width);
                let every = rows.len().div_ceil(MOST_PATCHES).max(1);
                patches.extend(rows.step_by(every).flatten());
            }
        }
        Ok(Pca::fit(&patches, width))
    }

    /// The animation, where it is asked for.
    fn start_video(&self) -> Result<Option<Video>, Error> {
        let Some(fps) = self.video else { return Ok(None) };
        std::fs::create_dir_all(&self.output)
            .and_then(|()| Video::new(&self.output, fps))
            .map(Some)
            .map_err(self.no_video())
    }

    fn no_video(&self) -> impl FnOnce(std::io::Error) -> Error {
        let path = self.output.join(VIDEO);
        |cause| Error::File { doing: "write", path, cause }
    }

    fn write(&self, stem: &str, drawn: &Drawn) -> Result<(), Error> {
        let folder = self.output.join(stem);
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |cause| Error::File { doing: "write", path, cause }
        };
        std::fs::create_dir_all(&folder).map_err(wrong(&folder))?;
        let all = drawn.files.iter().map(|(name, picture)| (name.as_str(), picture));
        for (name, picture) in all.chain([("grid", &drawn.grid)]) {
            let path = folder.join(format!("{name}.png"));
            save_png(&path, picture).map_err(wrong(&path))?;
        }
        Ok(())
    }
}

/// One picture, or those of a source.
enum Pictures {
    One(PathBuf),
    Source(Arc<dyn Images>),
}

impl Pictures {
    fn open(argument: &str) -> Result<Self, Error> {
        let path = Path::new(argument);
        let picture = path.extension().is_some_and(|end| {
            ["jpg", "jpeg", "png", "webp"].iter().any(|known| end.eq_ignore_ascii_case(known))
        });
        if path.is_file() && picture {
            return Ok(Pictures::One(path.to_owned()));
        }
        dataset::open(argument).map(Pictures::Source)
    }

    fn len(&self) -> usize {
        match self {
            Pictures::One(_) => 1,
            Pictures::Source(images) => images.len(),
        }
    }

    fn name(&self, index: usize) -> String {
        match self {
            Pictures::One(path) => path.display().to_string(),
            Pictures::Source(images) => images.name(index),
        }
    }

    /// The name of a picture's folder: that of its file, and its place where there are several.
    fn stem(&self, index: usize) -> String {
        let name = self.name(index);
        let stem = Path::new(&name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            Pictures::One(_) => stem,
            Pictures::Source(_) => format!("{index:05}-{stem}"),
        }
    }

    fn read(&self, index: usize, subject: &Subject) -> Result<Rgb8, String> {
        match self {
            Pictures::One(path) => {
                let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
                decode(&bytes, &subject.view.decode).map_err(|e| e.to_string())
            }
            Pictures::Source(images) => picture(images.as_ref(), index, subject.view),
        }
    }
}
