//! What trainings of probes keep between two calls, and what they say of pictures that can't be read.

use std::path::Path;

use crate::bench::{Bench, picture};

const LINEAR: [&str; 6] = ["--epochs", "2", "--lr", "0.1", "--global-batch", "4"];

/// Folders of two classes, three pictures each, of which the first `damaged` are none.
fn folders(bench: &Bench, name: &str, damaged: usize) -> String {
    for number in 0..6u32 {
        let path = bench.folder(&format!("{name}/{}", number % 2)).join(format!("{number}.png"));
        match (number as usize) < damaged {
            true => std::fs::write(path, "no picture").unwrap(),
            false => picture(number, 40, 40).save(path).unwrap(),
        }
    }
    bench.at(name)
}

#[test]
fn pictures_that_can_not_be_read_are_named_once_and_counted() {
    let bench = Bench::new();
    let (some, all, none) =
        (folders(&bench, "some", 2), folders(&bench, "all", 0), folders(&bench, "none", 6));
    let (run, out) = (bench.at("run"), bench.at("tuned"));
    let linear = |train: &str, val: &str| -> Vec<String> {
        let words = ["eval", "linear", &run, "--train", train, "--val", val, "--json"];
        words.iter().chain(&LINEAR).map(|word| word.to_string()).collect()
    };
    let finetune = |train: &str, val: &str| -> Vec<String> {
        let words = ["eval", "finetune", &run, "--train", train, "--val", val, "--json"];
        let own = ["--out", &out, "--overwrite", "--epochs", "2", "--global-batch", "3"];
        words.iter().chain(&own).map(|word| word.to_string()).collect()
    };
    let protocols: [&dyn Fn(&str, &str) -> Vec<String>; 2] = [&linear, &finetune];
    for protocol in protocols {
        let words = protocol(&some, &some);
        let output = bench.program(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        // once for training and once for judging, however many epochs there are
        assert_eq!(said.matches("left out").count(), 4, "{said}");
        assert!(said.contains("of the network on the 4 test images"), "{said}");
        let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(record["history"].as_array().unwrap().iter().all(|line| line["pictures"] == 4), "{record}");
        assert_eq!(record["subject"]["train"]["data"], some.as_str());
        for (train, val) in [(&none, &all), (&all, &none)] {
            let words = protocol(train, val);
            let refused = bench.refused(&words.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(refused.contains("can be read"), "{refused}");
        }
    }
}

#[test]
fn what_is_overwritten_is_not_gone_on_with() {
    let bench = Bench::new();
    let data = folders(&bench, "data", 0);
    let run = bench.at("run");
    for (protocol, kept) in
        [("linear", &["linear.safetensors"][..]), ("finetune", &["finetune.safetensors", "best.safetensors"])]
    {
        let out = bench.at(protocol);
        let plain = ["--train", &data, "--val", &data, "--epochs", "2", "--global-batch", "3", "--out", &out];
        bench.judge(protocol, &plain);
        let there = |name: &&str| Path::new(&out).join(name).is_file();
        assert!(kept.iter().all(there));
        // a learning rate that leaves the numbers at once ends the new one before it has kept anything
        let lost = ["eval", protocol, &run, "--overwrite", "--lr", "1e42"];
        let output = bench.program(&[&lost, &plain[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("lower"), "{said}");
        assert!(!kept.iter().any(there), "{said}");
        bench.judge(protocol, &[&plain[..], &["--resume"]].concat());
        let other = folders(&bench, "other", 0);
        let elsewhere = ["eval", protocol, &run, "--resume", "--train", &data, "--val", &other];
        let refused = bench.refused(&[&elsewhere, &plain[4..]].concat());
        assert!(refused.contains("is of another") && refused.contains(&other), "{refused}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    let run = bench.at("run");
    for (protocol, argument, value) in [
        ("video", "--nearest", "0"),
        ("video", "--radius", "99999999999"),
        ("logistic", "--iterations", "0"),
        ("finetune", "--mixup", "1e9"),
    ] {
        let data = ["--train", "Synthetic(count: 4)", "--val", "Synthetic(count: 4)", "--out", "."];
        let data = if protocol == "logistic" { &data[..4] } else { &data[..] };
        let data = if protocol == "video" { &["--data", ".", "--out", "."][..] } else { data };
        let refused = bench.refused(&[&["eval", protocol, &run, argument, value], data].concat());
        assert!(refused.contains(argument), "{refused}");
    }
}
