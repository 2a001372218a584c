use super::*;

#[test]
fn the_paper_is_the_default_and_is_faultless() {
    let spec = MultiCropSpec::default();
    assert_eq!(spec.faults(), []);
    let (first, second, local) = (spec.view(0), spec.view(1), spec.view(9));
    assert_eq!((first.size, first.blur, first.solarize), (224, 1.0, 0.0));
    assert_eq!((second.size, second.blur, second.solarize), (224, 0.1, 0.2));
    assert_eq!((local.size, local.blur, local.solarize, local.scale), (96, 0.5, 0.0, (0.05, 0.4)));
}

#[test]
fn the_first_global_crop_has_its_own_augmentations_and_all_others_the_seconds() {
    for (global_crops, local_crops) in [(1, 0), (1, 2), (3, 0), (4, 5)] {
        let spec = MultiCropSpec { global_crops, local_crops, ..Default::default() };
        assert_eq!((spec.faults(), spec.crops()), (vec![], global_crops + local_crops));
        for index in 0..spec.crops() {
            let expected = match index {
                0 => (224, 1.0, 0.0),
                _ if index < global_crops => (224, 0.1, 0.2),
                _ => (96, 0.5, 0.0),
            };
            let view = spec.view(index);
            assert_eq!((view.size, view.blur, view.solarize), expected, "{index} of {global_crops}");
        }
    }
}

#[test]
fn every_bad_value_is_reported() {
    let spec = MultiCropSpec {
        global_crops: 0,
        global_size: 0,
        global_scale: (0.5, f64::NAN),
        ratio: (2.0, 1.0),
        flip: 1.5,
        hue: 0.6,
        blur: (0.0, f64::NAN, -1.0),
        ..Default::default()
    };
    let fields: Vec<_> = spec.faults().iter().map(|f| f.field).collect();
    assert_eq!(
        fields,
        ["flip", "blur", "blur", "global_size", "global_crops", "global_scale", "ratio", "hue"]
    );
}
