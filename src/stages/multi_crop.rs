//! `multi_crop`: the paper's global and local crops of one picture, augmented (section 3.1, appendix).
use super::declare::*;
pub use crate::data::augment::MultiCropSpec as MultiCrop;

impl Declare for MultiCrop {
    fn role(&self) -> Role {
        Role::MultiCrop
    }

    fn rate(&self) -> Rate {
        Rate::Sample
    }

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port::new("images", "a picture, 8-bit RGB")],
            outputs: vec![Port::new("crops", "its global and local crops, 8-bit")],
        }
    }

    fn problems(&self, _: &Scope) -> Vec<Problem> {
        let workers =
            Problem::unless((1..=1024).contains(&self.workers), "workers", self.workers, "1 to 1024 threads");
        let faults = self.faults().into_iter();
        let faults = faults.filter_map(|f| Problem::unless(false, f.field, f.found, f.expected));
        workers.into_iter().chain(faults).collect()
    }

    fn infer(&self, _: &Scope, _: &Given) -> Result<Vec<EdgeType>, Vec<Problem>> {
        Ok(vec![EdgeType::Crops {
            global: MultiCrop::GLOBAL,
            global_size: self.global_size,
            local: self.local_crops,
            local_size: self.local_size,
        }])
    }

    fn workers(&self) -> usize {
        self.workers
    }
}
