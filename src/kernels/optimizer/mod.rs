//! One step of an optimizer, fused: parameters, gradients and state in, parameters and state out, and
//! with them an f16 or bf16 copy of the parameters for mixed precision.
//!
//! The arithmetic is [`crate::num::optim::step_element`]. What changes from step to step is read from
//! two small operands, so that a recorded step replays: `coefficients`, f32 `[rows, 16]`, made on the
//! host from the step and the learning rate; and `control`, four words that say by which factor
//! gradients are multiplied, to which magnitude they are clipped, whether this step is skipped, and how
//! many have been. A skipped step changes nothing, bit for bit. The state is f32 `[count, slots]`, the
//! numbers of a parameter side by side. With a pruning mask, what is pruned becomes 0 and its state too.
//!
//! The bound is a running error analysis of the definition on the same f32 operands.

mod cases;

use std::sync::Arc;

use crate::num::optim::{Control, ROW, SKIPPED, UpdateRule, step_element};
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::approx::Approx;
use super::iterations::looped;
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};
use super::{DataKind, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "optimizer";
const X: u32 = 1;
const PARAMETER: u32 = 2;
const STATE: u32 = 3;
const COEFFICIENTS: u32 = 4;
const CONTROL: u32 = 5;
const MASK: u32 = 6;
const OUT: u32 = 8;

/// Words of `control`: the factor and the limit as f32 bits, 1 to skip, steps skipped so far.
pub const CONTROL_WORDS: u32 = 4;

/// Most slots that a rule has.
const MAX_SLOTS: usize = 3;

/// Fewer parameters than this are dealt to as many lanes as there are pairs.
const FEW: u64 = 1 << 9;

params! {
    struct Params {
        count: u32,
        columns: u32,
        row_words: u32,
        rows: u32,
    }
}

/// A step of `n` by `k` parameters. Without a mask any shape with as many elements is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptimizerStep {
    /// Rows of the parameters.
    pub n: u32,
    /// Columns of the parameters.
    pub k: u32,
    /// How an element is updated.
    pub rule: UpdateRule,
    /// Storage of the gradients.
    pub gradient: FloatType,
    /// Storage of the copy, f16 or bf16, if one is kept.
    pub copy: Option<FloatType>,
    /// Whether a pruning mask, `[n, ceil(k / 32)]` words, is held.
    pub masked: bool,
    /// Rows of the table of coefficients.
    pub rows: u32,
}

/// What one step makes of everything.
struct Stepped {
    parameters: Vec<Approx>,
    state: Vec<Approx>,
}

impl OptimizerStep {
    /// Checks the step and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, indices past 32 bits, and an f32 copy of f32 parameters.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let (n, k) = (u64::from(self.n), u64::from(self.k));
        check_extents(NAME, &[("n", n), ("k", k), ("rows", self.rows.into())])?;
        let slots = self.slot_count() as u64;
        check_index(NAME, "n * k * slots", n.saturating_mul(k) * slots.max(1))?;
        if self.copy == Some(FloatType::F32) {
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "copy",
                value: "f32".to_owned(),
                allowed: "f16, bf16 or none",
            });
        }
        Ok(Arc::new(self))
    }

    const fn slot_count(&self) -> usize {
        self.rule.slots().len()
    }

    fn count(&self) -> u64 {
        u64::from(self.n) * u64::from(self.k)
    }

    fn row_words(&self) -> u32 {
        self.k.div_ceil(32)
    }

    /// The row of coefficients that `control` picks.
    fn row(&self, operands: &HostOperands<'_>) -> [f32; ROW] {
        let table = operands.f32(COEFFICIENTS);
        let skipped = operands.words(CONTROL)[3];
        // The table says it in f32, exact up to 2^24.
        let known = (table[SKIPPED] as u32).min(skipped);
        let row = (skipped - known).min(self.rows - 1) as usize;
        let mut own = [0.0; ROW];
        own.copy_from_slice(&table[row * ROW..(row + 1) * ROW]);
        own
    }

    fn keeps(&self, operands: &HostOperands<'_>, index: usize) -> bool {
        if !self.masked {
            return true;
        }
        let (row, column) = (index / self.k as usize, index % self.k as usize);
        let word = operands.words(MASK)[row * self.row_words() as usize + column / 32];
        word >> (column % 32) & 1 == 1
    }

    /// The step, or `None` when it is skipped.
    fn stepped(&self, operands: &HostOperands<'_>) -> Option<Stepped> {
        let control = operands.words(CONTROL);
        if control[2] != 0 {
            return None;
        }
        let (count, slots) = (self.count() as usize, self.slot_count());
        let c = self.row(operands).map(Approx::stored);
        let word = |index: usize| Approx::stored(f32::from_bits(control[index]));
        let control = Control {
            factor: word(0),
            limit: word(1),
        };
        let gradients = self.gradient.unpack(operands.words(X), count);
        let parameters = operands.f32(PARAMETER);
        let states = operands.get(STATE).map_or(&[][..], bytemuck::cast_slice);
        let mut made = Stepped {
            parameters: Vec::with_capacity(count),
            state: Vec::with_capacity(count * slots),
        };
        for (index, gradient) in gradients.into_iter().enumerate() {
            let mut state = [Approx::exact(0.0); MAX_SLOTS];
            let mut parameter = Approx::exact(0.0);
            if self.keeps(operands, index) {
                for (slot, own) in state[..slots].iter_mut().enumerate() {
                    *own = Approx::stored(states[index * slots + slot]);
                }
                let both = (Approx::stored(parameters[index]), Approx::stored(gradient));
                parameter = step_element(self.rule, &c, control, both, &mut state[..slots]);
            }
            made.parameters.push(parameter);
            made.state.extend(&state[..slots]);
        }
        Some(made)
    }

    /// Slots that are written, with the words of each.
    fn written(&self) -> Vec<(u32, usize)> {
        let count = self.count() as usize;
        let mut written = vec![(PARAMETER, count)];
        if self.slot_count() > 0 {
            written.push((STATE, count * self.slot_count()));
        }
        if let Some(copy) = self.copy {
            written.push((OUT, (count * copy.bytes() as usize).div_ceil(4)));
        }
        written
    }
}

impl Launch for OptimizerStep {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self { n, k, gradient, .. } = self;
        let copy = self
            .copy
            .map_or_else(String::new, |copy| format!(" copy-{copy}"));
        let mask = if self.masked { " masked" } else { "" };
        let rule = self.rule.name();
        format!(
            "{rule} n={n} k={k} gradient-{gradient}{copy}{mask} rows={}",
            self.rows
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let count = self.count();
        let slot = |binding, name, access, bytes| Slot {
            binding,
            name,
            access,
            bytes,
        };
        let state = 4 * count * self.slot_count() as u64;
        let table = 4 * ROW as u64 * u64::from(self.rows);
        let control = 4 * u64::from(CONTROL_WORDS);
        let mut slots = vec![
            slot(X, "x", Access::Read, count * self.gradient.bytes()),
            slot(PARAMETER, "parameter", Access::ReadWrite, 4 * count),
        ];
        if state > 0 {
            slots.push(slot(STATE, "state", Access::ReadWrite, state));
        }
        slots.push(slot(COEFFICIENTS, "coefficients", Access::Read, table));
        slots.push(slot(CONTROL, "control", Access::Read, control));
        if self.masked {
            let mask = 4 * u64::from(self.n) * u64::from(self.row_words());
            slots.push(slot(MASK, "mask", Access::Read, mask));
        }
        if let Some(copy) = self.copy {
            // A skipped step leaves it as it is.
            slots.push(slot(OUT, "out", Access::ReadWrite, count * copy.bytes()));
        }
        slots
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            count: self.count() as u32,
            columns: self.k,
            row_words: self.row_words(),
            rows: self.rows,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME)
            .slot("rule", self.rule.name())
            .slot("element", self.gradient.name())
            .slot("kept", if self.masked { "mask" } else { "all" })
            .slot("pair", self.copy.map_or("none", FloatType::name));
        let variant = match self.slot_count() {
            0 => variant.slot("memory", "none"),
            slots => variant
                .slot("memory", "slots")
                .number("STATE_SLOTS", slots as u32),
        };
        let variant = variant.number("WORKGROUP_SIZE", 64);
        // A row of coefficients is read once for all pairs of a lane; few parameters want more lanes.
        let pairs: &[u32] = if self.count() < FEW { &[1] } else { &[4, 1] };
        let with = |&pairs| variant.clone().number("PAIRS", pairs);
        pairs.iter().map(with).collect()
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.count()
            .div_ceil(2 * u64::from(variant.get("PAIRS") * variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let forgotten = 2 * looped(self.slot_count() as u64, 0);
        let row = looped(ROW as u64, 0);
        let pairs = variant.get("PAIRS").into();
        Iterations {
            unrolled: looped(pairs, 0),
            rolled: row + looped(pairs, forgotten),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let Some(made) = self.stepped(operands) else {
            let same = |(binding, words): (u32, usize)| {
                let kept = operands.words(binding)[..words].to_vec();
                Output::new(binding, Values::Words(kept))
            };
            return self.written().into_iter().map(same).collect();
        };
        let values = |made: &[Approx]| made.iter().map(|one| one.value).collect::<Vec<f64>>();
        let parameters = values(&made.parameters);
        // The copy is of the parameter as it is stored.
        let stored = parameters.iter().map(|&value| f64::from(value as f32));
        let copy = match self.copy {
            Some(FloatType::F16) => Some(Values::F16(stored.collect())),
            Some(FloatType::Bf16) => Some(Values::Bf16(stored.collect())),
            Some(FloatType::F32) | None => None,
        };
        let mut outputs = vec![Output::new(PARAMETER, Values::F32(parameters))];
        if self.slot_count() > 0 {
            outputs.push(Output::new(STATE, Values::F32(values(&made.state))));
        }
        outputs.extend(copy.map(|copy| Output::new(OUT, copy)));
        outputs
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let Some(made) = self.stepped(operands) else {
            return self.written().iter().map(|_| Bound::Exact).collect();
        };
        let errors = |made: &[Approx]| Bound::Absolute(made.iter().map(|one| one.error).collect());
        let mut bounds = vec![errors(&made.parameters)];
        if self.slot_count() > 0 {
            bounds.push(errors(&made.state));
        }
        if let Some(copy) = self.copy {
            let error = |one: &Approx| {
                let reached = one.value.abs() + one.error;
                // The reference's own rounding to f32 comes on top.
                one.error + reached * 2f64.powi(-24) + copy.store_error(reached)
            };
            bounds.push(Bound::Absolute(made.parameters.iter().map(error).collect()));
        }
        bounds
    }

    fn cost(&self) -> Cost {
        let moved = |slot: &Slot| match slot.access {
            Access::ReadWrite if slot.binding != OUT => 2.0 * slot.bytes as f64,
            Access::Read | Access::Write | Access::ReadWrite => slot.bytes as f64,
        };
        Cost {
            // Scaling, clipping, penalties and decay come before the rule.
            operations: self.count() as f64 * f64::from(7 + self.rule.operations()),
            bytes: self.slots().iter().map(moved).sum(),
        }
    }

    fn shape_class(&self) -> String {
        let n = self.n.next_power_of_two();
        let k = self.k.next_power_of_two();
        Self {
            n,
            k,
            rows: 1,
            ..*self
        }
        .describe()
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        cases::operands(self, DataKind::Normal, cases::Steer::Plain, seed)
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let k = u64::from(self.k);
        let mut streams = Streams::default();
        for slot in self.slots() {
            match slot.binding {
                COEFFICIENTS | CONTROL => streams.whole.push((slot.binding, slot.bytes)),
                MASK => streams.by_row.push((MASK, 4 * u64::from(self.row_words()))),
                // The same number of bytes for each row, by what a parameter has there.
                _ => {
                    let row = slot.bytes / self.count() * k;
                    streams.by_row.push((slot.binding, row));
                }
            }
        }
        let part = |tile: Tile| Part {
            launch: Arc::new(Self {
                n: tile.rows.end - tile.rows.start,
                ..*self
            }),
            ranges: tile.ranges,
        };
        let tiles = cut(self.n, 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [n] = asked.extents("COUNT")?;
    let rules = UpdateRule::ALL.map(|rule| (rule.name(), rule));
    let copy = asked.choose(&[("copy-f16", FloatType::F16), ("copy-bf16", FloatType::Bf16)]);
    let step = OptimizerStep {
        n,
        k: 1,
        rule: asked.choose(&rules).unwrap_or(UpdateRule::Adam),
        gradient: asked.float().unwrap_or(FloatType::F32),
        copy,
        masked: asked.choose(&[("masked", true)]).unwrap_or(false),
        rows: 1,
    };
    Ok(step.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "one step of SGD, Adam and their kin: parameters, state and a 16-bit copy, in one pass",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::cases::{Steer, case};
    use super::*;
    use crate::kernels::parts_test::check_parts;

    fn step(rule: UpdateRule) -> OptimizerStep {
        OptimizerStep {
            n: 700,
            k: 3,
            rule,
            gradient: FloatType::F16,
            copy: Some(FloatType::Bf16),
            masked: true,
            rows: 2,
        }
    }

    #[test]
    fn rejects_empty_extents_and_a_copy_of_the_same_type() {
        let adam = step(UpdateRule::Adam);
        assert!(matches!(
            OptimizerStep { n: 0, ..adam }.launch(),
            Err(ShapeError::Zero { name: "n", .. })
        ));
        assert!(matches!(
            OptimizerStep { rows: 0, ..adam }.launch(),
            Err(ShapeError::Zero { name: "rows", .. })
        ));
        let copy = Some(FloatType::F32);
        assert!(matches!(
            OptimizerStep { copy, ..adam }.launch(),
            Err(ShapeError::Unsupported { name: "copy", .. })
        ));
        let (n, k) = (1 << 16, 1 << 15);
        assert!(matches!(
            OptimizerStep { n, k, ..adam }.launch(),
            Err(ShapeError::TooLarge { .. })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for rule in [UpdateRule::Sgd, UpdateRule::Amsgrad] {
            for steer in [Steer::Plain, Steer::Skipped] {
                let case = case(step(rule), DataKind::Normal, steer).expect("valid");
                assert!(check_parts(case.launch.as_ref(), &case.operands, 8192, 64) > 1);
            }
        }
    }

    #[test]
    fn the_bound_is_a_few_units_and_the_definition_the_one_of_num() {
        let made = case(step(UpdateRule::Adam), DataKind::Normal, Steer::Plain).expect("valid");
        let mut operands = HostOperands::default();
        for (binding, words) in &made.operands {
            operands.insert(*binding, words);
        }
        let Bound::Absolute(bounds) = &made.launch.bound(&operands)[0] else {
            panic!("parameters are floats");
        };
        let worst = bounds.iter().copied().fold(0.0, f64::max);
        assert!(worst < 1e-5, "{worst:e}");
    }
}
