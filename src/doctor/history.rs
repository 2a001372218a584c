//! A run that is over, or stopped, from the folder that it left.

use std::path::Path;

use super::{Diagnosis, Doctor};
use crate::error::Error;
use crate::graph::load::{Request, load};
use crate::plan::build;
use crate::stages::Registry;

/// What the doctor says of a run's folder: `graph.ron` and `metrics.jsonl` in it.
///
/// # Errors
/// When the folder is not there or is no run's, when a file in it can't be read, or when its graph is none that this program can
/// plan.
pub fn diagnose(folder: &Path, registry: &Registry) -> Result<Diagnosis, Error> {
    let (graph, metrics) = (folder.join("graph.ron"), folder.join("metrics.jsonl"));
    if !folder.is_dir() {
        return Err(Error::Request(format!("{}: no such folder; expected a run's", folder.display())));
    }
    for file in [&graph, &metrics] {
        if !file.is_file() {
            let missing = file.file_name().unwrap_or_default().to_string_lossy();
            return Err(Error::Request(format!(
                "{}: no run's folder, for it holds no {missing}; expected what `dinoflow run` leaves behind",
                folder.display()
            )));
        }
    }
    let loaded = load(&Request { graph, ..Request::default() })?;
    let (plan, _) = build::plan(&loaded, registry)
        .map_err(|problems| Error::Graph { problems, origins: Box::new(loaded.origins.clone()) })?;
    let mut doctor = Doctor::new(&plan);
    doctor.read(&metrics).map_err(|cause| Error::File { doing: "read", path: metrics, cause })?;
    Ok(doctor.diagnosis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Way;

    fn line(step: u64, targets: f64, batch: f64, kl: f64) -> String {
        format!(
            "{{\"event\":\"step\",\"step\":{step},\"epoch\":0,\"teacher_entropy\":{targets},\
             \"batch_entropy\":{batch},\"kl\":{kl},\"teacher_temperature\":0.2}}\n"
        )
    }

    #[test]
    fn a_folder_tells_what_its_run_would_have_said() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let check = |lines: &str, collapsed: Option<(Way, u64)>, steps: u64| {
            std::fs::create_dir_all(&run).unwrap();
            std::fs::write(run.join("graph.ron"), include_str!("../../graphs/quickstart.ron")).unwrap();
            std::fs::write(run.join("metrics.jsonl"), lines).unwrap();
            let found = diagnose(&run, &Registry::default()).unwrap();
            assert_eq!(found.collapse.as_ref().map(|c| (c.way, c.since)), collapsed);
            assert_eq!((found.steps(), found.total_steps), (steps, Some(1280)));
            found
        };
        let healthy: String = (0..9).map(|step| line(step, 1.0, 4.0, 0.5)).collect();
        check(&healthy, None, 9);
        check("", None, 0);
        // a line cut short is that of a killed run
        let even: String = (9..60).map(|step| line(step, 5.54, 5.54, 0.001)).collect();
        let found = check(&format!("{healthy}{even}{{\"event\":\"st"), Some((Way::ToUniform, 9)), 60);
        assert!(found.collapsed() && found.causes[0].what.contains("temperature was 0.2"));
        let one: String = (9..60).map(|step| line(step, 0.1, 0.2, 0.001)).collect();
        check(&format!("{healthy}{one}"), Some((Way::ToOnePrototype, 9)), 60);
    }

    #[test]
    fn what_is_no_run_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &str, said: &str| {
            let error = diagnose(&folder.path().join(path), &Registry::default()).unwrap_err();
            assert!(error.exit_status() == 2 && error.to_string().contains(said), "{error}");
        };
        check("nothing", "no such folder");
        check("", "holds no graph.ron");
        std::fs::write(folder.path().join("graph.ron"), "(").unwrap();
        check("", "holds no metrics.jsonl");
        std::fs::write(folder.path().join("metrics.jsonl"), "").unwrap();
        check("", "the graph has 1 error");
    }
}
