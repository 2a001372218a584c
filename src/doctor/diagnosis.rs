//! What the doctor says: for people, and as JSON for programs.

use std::fmt;

use serde_json::{Value, json};

use super::causes::Cause;
use super::course::{Collapse, DIVERGENCE, ONE, Reading, SAME, STEPS, UNIFORM, Way};

/// What is known of a run.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The last collapse, whether it lasts or is over.
    pub collapse: Option<Collapse>,
    /// What may have led to it, the likeliest first.
    pub causes: Vec<Cause>,
    /// Steps in a row that look like a collapse and are too few for one.
    pub suspicion: Option<Collapse>,
    /// The last step's figures.
    pub last: Option<Reading>,
    /// K, where known.
    pub prototypes: Option<usize>,
    /// Updates in the whole run, where known.
    pub total_steps: Option<u64>,
}

impl Diagnosis {
    /// Whether training is collapsed at the last step.
    pub fn collapsed(&self) -> bool {
        self.collapse.as_ref().is_some_and(|collapse| collapse.lasts)
    }

    /// Updates that are done.
    pub fn steps(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.step + 1)
    }

    /// Whether the run came to its end; not so where its length is not known.
    pub fn finished(&self) -> bool {
        self.total_steps.is_some_and(|total| self.steps() >= total)
    }

    /// One word for programs.
    fn verdict(&self) -> &'static str {
        match &self.collapse {
            Some(collapse) if collapse.lasts => "collapsed",
            Some(_) => "recovered",
            None if self.last.is_none() => "no steps",
            None => "healthy",
        }
    }

    /// Everything that the words say, and the figures of the last step.
    pub fn to_json(&self) -> Value {
        let last = self.last.as_ref();
        let figure = |of: fn(&Reading) -> Option<f64>| last.and_then(of);
        json!({
            "verdict": self.verdict(),
            "finished": self.finished(),
            "steps": self.steps(),
            "total_steps": self.total_steps,
            "prototypes": self.prototypes,
            "collapse": self.collapse.as_ref().map(row),
            "causes": self.causes.iter().map(|cause| json!({"what": cause.what, "remedy": cause.remedy}))
                .collect::<Vec<_>>(),
            "suspicion": self.suspicion.as_ref().map(row),
            "last": last.map(|last| json!({
                "step": last.step,
                "loss": figure(|r| r.loss),
                "teacher_temperature": figure(|r| r.teacher_temperature),
                "teacher_entropy": figure(|r| r.teacher_entropy),
                "batch_entropy": figure(|r| r.batch_entropy),
                "kl": figure(|r| r.kl),
                "center_norm": figure(|r| r.center_norm),
                "used_prototypes": figure(|r| r.used_prototypes),
                "agreement": figure(|r| r.agreement),
                "effective_rank": figure(|r| r.effective_rank),
            })),
        })
    }

    /// `120 of 1280 steps`.
    fn progress(&self) -> String {
        match self.total_steps {
            Some(total) => format!("{} of {total} steps", self.steps()),
            None => format!("{} steps", self.steps()),
        }
    }

    /// What every picture's target has become.
    fn outcome(&self, way: Way) -> String {
        let all = self.prototypes.map_or("all prototypes".into(), |k| format!("all {k} prototypes"));
        match way {
            Way::ToUniform => format!("every picture has the same target, spread over {all}"),
            Way::ToOnePrototype => "every picture has the same target, one prototype".into(),
            Way::ToOneTarget => {
                "every picture has the same target, neither one prototype nor spread over all".into()
            }
        }
    }

    /// The test that held.
    fn test(&self, way: Way) -> String {
        let k = self.prototypes.map_or("K".into(), |k| k.to_string());
        match way {
            Way::ToUniform => {
                format!("mean entropy of the targets over {UNIFORM} ln {k}, KL under {DIVERGENCE}")
            }
            Way::ToOnePrototype => format!("entropy of the batch's mean target under {ONE} ln {k}"),
            Way::ToOneTarget => {
                format!("entropy of the batch's mean target less than {SAME} ln {k} over that of single ones")
            }
        }
    }

    /// The figures of the last step, in words.
    fn figures(&self) -> String {
        let Some(last) = &self.last else { return "no steps were recorded".into() };
        let most = self.prototypes.filter(|k| *k > 1).map(|k| (k as f64).ln());
        let entropy = |entropy: Option<f64>| {
            let part =
                entropy.zip(most).map_or(String::new(), |(e, most)| format!(" ({:.2} ln K)", e / most));
            entropy.map(|entropy| format!("{entropy:.3}{part}"))
        };
        let number = |number: Option<f64>| number.map(|number| format!("{number:.4}"));
        let of_all = self.prototypes.map_or(String::new(), |k| format!(" of {k}"));
        let figures = [
            ("loss", number(last.loss)),
            ("entropy of a target", entropy(last.teacher_entropy)),
            ("entropy of the batch's mean target", entropy(last.batch_entropy)),
            ("KL", number(last.kl)),
            ("length of the centre", number(last.center_norm)),
            ("prototypes used", last.used_prototypes.map(|used| format!("{used}{of_all}"))),
            ("student and teacher agree", last.agreement.map(|share| format!("{:.1} %", 100.0 * share))),
            ("effective rank of the features", last.effective_rank.map(|rank| format!("{rank:.1}"))),
        ];
        let known = figures.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        format!("at step {}: {}", last.step, known.collect::<Vec<_>>().join(", "))
    }
}

fn row(collapse: &Collapse) -> Value {
    let way = match collapse.way {
        Way::ToUniform => "uniform",
        Way::ToOnePrototype => "one prototype",
        Way::ToOneTarget => "one target",
    };
    json!({"to": way, "since": collapse.since, "steps": collapse.steps, "lasts": collapse.lasts})
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.collapse {
            Some(collapse) => {
                let (word, outcome) = (collapse.way.word(), self.outcome(collapse.way));
                match collapse.lasts {
                    true => write!(f, "training has collapsed {word}: {outcome}")?,
                    false => write!(f, "training had collapsed {word}, and came out of it")?,
                }
                let (since, steps) = (collapse.since, collapse.steps);
                write!(f, "\nsince step {since}, for {steps} steps in a row: {}", self.test(collapse.way))?;
                for (index, cause) in self.causes.iter().enumerate() {
                    let word = if index == 0 { "likely cause" } else { "also possible" };
                    write!(f, "\n{word}: {}\n  remedy: {}", cause.what, cause.remedy)?;
                }
            }
            None if self.last.is_none() => return write!(f, "no steps were recorded: nothing to judge yet"),
            None if self.total_steps.is_some() && !self.finished() => {
                write!(f, "healthy so far: {}", self.progress())?
            }
            None => write!(f, "healthy: {}", self.progress())?,
        }
        if let Some(row) = &self.suspicion {
            let (word, steps) = (row.way.word(), row.steps);
            let test = self.test(row.way);
            write!(
                f,
                "\nthe last {steps} steps look like a collapse {word} ({test}); {STEPS} in a row are one"
            )?;
        }
        write!(f, "\n{}", self.figures())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(steps: u64, collapse: Option<(Way, bool)>) -> Diagnosis {
        let last = steps.checked_sub(1).map(|step| Reading {
            step,
            loss: Some(2.75),
            teacher_entropy: Some(2.7),
            batch_entropy: Some(2.77),
            used_prototypes: Some(3.0),
            agreement: Some(0.125),
            effective_rank: Some(1.5),
            ..Reading::default()
        });
        let row = |(way, lasts)| Collapse { way, since: 7, steps: 50, lasts, first: Reading::default() };
        Diagnosis {
            causes: collapse
                .map(|_| Cause { what: "a".into(), remedy: "--set b=1".into() })
                .into_iter()
                .collect(),
            collapse: collapse.map(row),
            suspicion: None,
            last,
            prototypes: Some(16),
            total_steps: Some(100),
        }
    }

    #[test]
    fn words_say_which_way_since_when_and_what_to_do() {
        let check = |diagnosis: Diagnosis, verdict: &str, expected: &str| {
            assert_eq!(diagnosis.to_string(), expected);
            assert_eq!(diagnosis.to_json()["verdict"], verdict);
        };
        let figures = "loss 2.7500, entropy of a target 2.700 (0.97 ln K), entropy of the batch's mean target 2.770 (1.00 ln K), \
            prototypes used 3 of 16, student and teacher agree 12.5 %, effective rank of the features 1.5";
        check(diagnosis(100, None), "healthy", &format!("healthy: 100 of 100 steps\nat step 99: {figures}"));
        check(
            diagnosis(57, None),
            "healthy",
            &format!("healthy so far: 57 of 100 steps\nat step 56: {figures}"),
        );
        check(diagnosis(0, None), "no steps", "no steps were recorded: nothing to judge yet");
        let uniform = format!(
            "training has collapsed to uniform: every picture has the same target, spread over all 16 prototypes\n\
             since step 7, for 50 steps in a row: mean entropy of the targets over 0.98 ln 16, KL under 0.02\n\
             likely cause: a\n  remedy: --set b=1\nat step 56: {figures}"
        );
        check(diagnosis(57, Some((Way::ToUniform, true))), "collapsed", &uniform);
        let over = format!(
            "training had collapsed to one prototype, and came out of it\n\
             since step 7, for 50 steps in a row: entropy of the batch's mean target under 0.05 ln 16\n\
             likely cause: a\n  remedy: --set b=1\nat step 99: {figures}"
        );
        check(diagnosis(100, Some((Way::ToOnePrototype, false))), "recovered", &over);
    }
}
