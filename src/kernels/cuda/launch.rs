//! Starting kernels.

use std::ffi::c_void;

use cudarc::driver::{result, sys};
use dfdx::prelude::CudaError;

use super::failure::judged;
use super::gpu::Gpu;
use super::view::{Any, AnyMut, View, ViewMut};

/// How many threads start, and what they share.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Blocks along x, y, z.
    pub blocks: (u32, u32, u32),
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of a block's shared memory beside what the kernel declares itself.
    pub shared: u32,
}

impl Launch {
    /// So many blocks of so many threads.
    pub fn blocks(blocks: usize, threads: u32) -> Launch {
        Launch { blocks: (count(blocks), 1, 1), threads, shared: 0 }
    }

    /// Blocks along x, y and z.
    pub fn grid((x, y, z): (usize, usize, usize), threads: u32) -> Launch {
        Launch { blocks: (count(x), count(y), count(z)), threads, shared: 0 }
    }

    /// A thread for each of so many pieces of work.
    pub fn each(work: usize, threads: u32) -> Launch {
        Launch::blocks(work.div_ceil(threads as usize), threads)
    }

    /// A pass over so many numbers, of which a thread takes eight (`each_number` in common.cuh).
    pub fn pass(numbers: usize) -> Launch {
        Launch::each(numbers.div_ceil(8), 256)
    }

    /// A warp for each of so many pieces of work.
    pub fn warps(work: usize, threads: u32) -> Launch {
        Launch::blocks(work.div_ceil(threads as usize / 32), threads)
    }

    /// With so many bytes of shared memory, which the kernel names by `SHARED_BYTES`.
    pub fn shared(self, bytes: usize) -> Launch {
        Launch { shared: count(bytes), ..self }
    }
}

/// No count of blocks or bytes comes near this: it would be refused by the driver.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Something that a kernel takes: where its value stands, and that it is what the kernel's parameter is.
///
/// # Safety
/// The pointer must point to a value as the GPU wants it for as long as `self` lives where it is.
pub unsafe trait Argument {
    fn place(&self) -> *mut c_void;
}

/// Plain numbers are the same on both sides.
macro_rules! plain {
    ($($number:ty),*) => {
        $(
            // SAFETY: the value itself is what the kernel takes
            unsafe impl Argument for $number {
                fn place(&self) -> *mut c_void {
                    std::ptr::from_ref(self).cast_mut().cast()
                }
            }
        )*
    };
}
plain!(i32, u32, i64, u64, f32, f64, RowsArgument);

/// An address in the GPU's memory; 0 for nothing.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Pointer(pub sys::CUdeviceptr);

// SAFETY: a device pointer is what the kernel takes
unsafe impl Argument for Pointer {
    fn place(&self) -> *mut c_void {
        std::ptr::from_ref(&self.0).cast_mut().cast()
    }
}

/// Rows as kernels take them (`Rows` in common.cuh).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RowsArgument {
    pub images: sys::CUdeviceptr,
    pub each: i32,
    pub first: i32,
    pub apart: i32,
    pub count: i32,
}

/// What may stand among a launch's arguments: turned into what the kernel takes.
pub trait Given {
    type Taken: Argument;
    fn given(&self) -> Self::Taken;
}

macro_rules! given {
    ($($number:ty),*) => {
        $(impl Given for $number {
            type Taken = $number;
            fn given(&self) -> $number {
                *self
            }
        })*
    };
}
given!(i32, u32, i64, u64, f32, f64, RowsArgument, Pointer);

macro_rules! pointers {
    ($($view:ty),*) => {
        $(
            impl Given for $view {
                type Taken = Pointer;
                fn given(&self) -> Pointer {
                    Pointer(self.pointer())
                }
            }
            impl Given for Option<$view> {
                type Taken = Pointer;
                /// Null where there is nothing.
                fn given(&self) -> Pointer {
                    Pointer(self.as_ref().map_or(0, |view| view.pointer()))
                }
            }
        )*
    };
}
pointers!(View<'_>, ViewMut<'_>, Any<'_>, AnyMut<'_>);

impl Gpu {
    /// Starts a kernel after all that was started before. Nothing starts where there are no blocks.
    ///
    /// # Safety
    /// The arguments must be those that the kernel of this name takes, one for one, and whatever they point to must be as
    /// large as the kernel reaches.
    ///
    /// # Errors
    /// When there is no such kernel, or the driver refuses the launch.
    pub unsafe fn start(
        &self,
        kernel: &'static str,
        launch: Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<(), CudaError> {
        let (x, y, z) = launch.blocks;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let function = self.function(kernel, launch.shared)?;
        self.bind()?;
        let threads = (launch.threads, 1, 1);
        // SAFETY: the caller vouches for the arguments; the function belongs to a module that is never unloaded
        let mut start = || unsafe {
            result::launch_kernel(function, launch.blocks, threads, launch.shared, self.stream(), arguments)
        };
        self.between_marks(kernel, || judged(kernel, start()))
    }
}

/// `launch!(gpu, "kernel", Launch::…; argument, …)?`: starts a kernel with what these arguments stand for.
///
/// Uses `unsafe` inside: whoever writes it vouches that the arguments are the kernel's, and that shapes were checked before.
macro_rules! launch {
    ($gpu:expr, $kernel:expr, $launch:expr; $($argument:expr),* $(,)?) => {{
        let arguments = ($($crate::kernels::cuda::launch::Given::given(&$argument),)*);
        $crate::kernels::cuda::launch::Arguments::start(&arguments, $gpu, $kernel, $launch)
    }};
}
pub(crate) use launch;

/// A list of arguments of any types.
pub trait Arguments {
    /// Starts a kernel that takes them.
    ///
    /// # Errors
    /// Those of [`Gpu::start`].
    fn start(&self, gpu: &Gpu, kernel: &'static str, launch: Launch) -> Result<(), CudaError>;
}

macro_rules! arguments {
    ($($name:ident),+) => {
        impl<$($name: Argument),+> Arguments for ($($name,)+) {
            fn start(&self, gpu: &Gpu, kernel: &'static str, launch: Launch) -> Result<(), CudaError> {
                #[allow(non_snake_case)]
                let ($($name,)+) = self;
                let mut places = [$($name.place()),+];
                // SAFETY: whoever writes `launch!` knows the kernel and has checked the shapes; the tests hold every kernel
                // against its twin behind the same call
                unsafe { gpu.start(kernel, launch, &mut places) }
            }
        }
    };
}
arguments!(A);
arguments!(A, B);
arguments!(A, B, C);
arguments!(A, B, C, D);
arguments!(A, B, C, D, E);
arguments!(A, B, C, D, E, F);
arguments!(A, B, C, D, E, F, G);
arguments!(A, B, C, D, E, F, G, H);
arguments!(A, B, C, D, E, F, G, H, I);
arguments!(A, B, C, D, E, F, G, H, I, J);
arguments!(A, B, C, D, E, F, G, H, I, J, K);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M, N);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S);
arguments!(A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T);
