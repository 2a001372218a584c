//! AdamW's hyper-parameters after the arithmetic that needs f64, as every device's kernel takes them.

/// What one step does to every number of a parameter. Laid out as C lays it out: a GPU's kernel takes it whole.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Factors {
    pub decay: f32,
    pub rate: f32,
    pub root: f32,
    pub eps: f32,
    pub new1: f32,
    pub new2: f32,
    pub grad: f32,
}

impl Factors {
    /// Of the update that is number `step`, counted from 1.
    pub fn new(lr: f64, decay: f64, beta1: f64, beta2: f64, eps: f64, step: u64, grad_scale: f32) -> Self {
        let power = |beta: f64| beta.powf(step as f64);
        Factors {
            decay: (lr * decay) as f32,
            rate: (lr / (1.0 - power(beta1))) as f32,
            root: (1.0 / (1.0 - power(beta2)).sqrt()) as f32,
            eps: eps as f32,
            new1: (1.0 - beta1) as f32,
            new2: (1.0 - beta2) as f32,
            grad: grad_scale,
        }
    }
}
