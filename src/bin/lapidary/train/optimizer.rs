//! From flags to an optimizer with its constants.

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use lapidary::num::optim::{Convention, Method, OPTIMIZERS, Optimizer};

use crate::options::Failure;

use super::usage;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConventionName {
    /// As torch.optim.
    Pytorch,
    /// As keras.optimizers.
    Keras,
}

#[derive(Debug, Args)]
pub struct OptimizerOptions {
    /// sgd, momentum, nesterov, adagrad, adadelta, rmsprop, adam, adamw, amsgrad, nadam, adamax or radam.
    #[arg(long, default_value = "adamw", value_name = "NAME", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(OPTIMIZERS))]
    pub optimizer: String,
    /// Whose defaults and details the optimizer has.
    #[arg(long, value_enum, default_value = "pytorch")]
    convention: ConventionName,
    /// By default 0.002 for PyTorch's adamw and the library's default for the others.
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Decoupled for adamw and with --convention keras; added to the gradient for the others. By default 0, but
    /// 0.01 for adamw and 0.004 for that of Keras.
    #[arg(long, value_name = "W")]
    weight_decay: Option<f64>,
    /// Times the sign of a parameter, added to its gradient; 0 by default.
    #[arg(long, value_name = "W")]
    l1: Option<f64>,
    /// What the means of the gradient and its square keep of a step, 0.9,0.999 by default; of the adam family.
    #[arg(long, value_name = "B,B", value_delimiter = ',', num_args = 1)]
    betas: Option<Vec<f64>>,
    /// Of momentum and nesterov, 0.9 by default, and of rmsprop, 0 by default.
    #[arg(long, value_name = "M")]
    momentum: Option<f64>,
    /// Added to what is divided by; the library's default.
    #[arg(long, value_name = "E")]
    epsilon: Option<f64>,
}

impl OptimizerOptions {
    /// The optimizer, and its learning rate. That its constants are in range, it checks itself.
    pub fn made(&self) -> Result<(Optimizer, f64), Failure> {
        let convention = match self.convention {
            ConventionName::Pytorch => Convention::PyTorch,
            ConventionName::Keras => Convention::Keras,
        };
        let is_keras = convention == Convention::Keras;
        let is_adamw = self.optimizer == "adamw";
        let mut made = Optimizer::named(&self.optimizer, convention).map_err(usage)?;
        self.set_constants(&mut made.method)?;
        if let Some(l1) = self.l1 {
            made.penalty.l1 = l1;
        }
        match self.weight_decay {
            None => {}
            Some(decoupled) if is_adamw || is_keras => made.penalty.decoupled = decoupled,
            Some(l2) => made.penalty.l2 = l2,
        }
        let default = if is_adamw && !is_keras {
            0.002
        } else {
            made.default_learning_rate()
        };
        Ok((made, self.learning_rate.unwrap_or(default)))
    }

    fn set_constants(&self, method: &mut Method) -> Result<(), Failure> {
        let has_none = |flag: &str, of: &str| {
            let name = &self.optimizer;
            Failure::Usage(format!("--{flag}: {name} has none; {of}"))
        };
        if let Some(given) = &self.betas {
            let &[first, second] = &given[..] else {
                return Err(Failure::Usage(format!(
                    "--betas: {} numbers; allowed: two, as 0.9,0.999",
                    given.len()
                )));
            };
            match method {
                Method::Adam { betas, .. }
                | Method::Nadam { betas, .. }
                | Method::Adamax { betas, .. }
                | Method::Radam { betas, .. } => *betas = [first, second],
                _ => {
                    let of = "adam, adamw, amsgrad, nadam, adamax and radam have";
                    return Err(has_none("betas", of));
                }
            }
        }
        if let Some(given) = self.momentum {
            match method {
                Method::Momentum { momentum, .. } | Method::Rmsprop { momentum, .. } => {
                    *momentum = given;
                }
                _ => {
                    let of = "momentum, nesterov and rmsprop have";
                    return Err(has_none("momentum", of));
                }
            }
        }
        if let Some(given) = self.epsilon {
            match method {
                Method::Adagrad { epsilon, .. }
                | Method::Adadelta { epsilon, .. }
                | Method::Adam { epsilon, .. }
                | Method::Rmsprop { epsilon, .. }
                | Method::Nadam { epsilon, .. }
                | Method::Adamax { epsilon, .. }
                | Method::Radam { epsilon, .. } => *epsilon = given,
                Method::Sgd | Method::Momentum { .. } => {
                    return Err(has_none(
                        "epsilon",
                        "all but sgd, momentum and nesterov have",
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: OptimizerOptions,
    }

    fn made(words: &[&str]) -> Result<(Optimizer, f64), String> {
        let words = ["line"].iter().chain(words);
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.options.made().map_err(|error| error.to_string())
    }

    #[test]
    fn flags_reach_every_constant() {
        let (adamw, rate) = made(&[]).unwrap();
        assert_eq!(rate, 0.002);
        assert_eq!(
            adamw,
            Optimizer::named("adamw", Convention::PyTorch).unwrap()
        );
        let words = ["--betas", "0.8,0.99", "--epsilon", "1e-6", "--l1", "0.1"];
        let (adamw, _) = made(&words).unwrap();
        let expected = Method::Adam {
            betas: [0.8, 0.99],
            epsilon: 1e-6,
            amsgrad: false,
        };
        assert_eq!(adamw.method, expected);
        // Another penalty leaves the default one.
        assert_eq!((adamw.penalty.l1, adamw.penalty.decoupled), (0.1, 0.01));
        let (sgd, rate) = made(&["--optimizer", "sgd", "--weight-decay", "0.5"]).unwrap();
        assert_eq!((sgd.penalty.l2, sgd.penalty.decoupled), (0.5, 0.0));
        assert_eq!(rate, sgd.default_learning_rate());
        let words = ["--optimizer", "rmsprop", "--momentum", "0.5"];
        let (rmsprop, _) = made(&words).unwrap();
        assert!(matches!(
            rmsprop.method,
            Method::Rmsprop { momentum: 0.5, .. }
        ));
    }

    #[test]
    fn keras_has_its_own_defaults_and_decay() {
        let words = ["--optimizer", "sgd", "--convention", "keras"];
        let (sgd, rate) = made(&[&words[..], &["--weight-decay", "0.5"]].concat()).unwrap();
        assert_eq!((sgd.penalty.l2, sgd.penalty.decoupled), (0.0, 0.5));
        assert_eq!((sgd.convention, rate), (Convention::Keras, 0.01));
        let (adamw, rate) = made(&["--convention", "keras"]).unwrap();
        assert_eq!((adamw.penalty.decoupled, rate), (0.004, 0.001));
    }

    #[test]
    fn a_constant_that_an_optimizer_has_not_is_refused() {
        for (words, expected) in [
            (
                ["--optimizer=sgd", "--betas=0.9,0.9"],
                "--betas: sgd has none",
            ),
            (
                ["--optimizer=adam", "--momentum=0.9"],
                "--momentum: adam has none",
            ),
            (
                ["--optimizer=momentum", "--epsilon=1"],
                "--epsilon: momentum has none",
            ),
            (["--optimizer=adam", "--betas=0.9"], "--betas: 1 numbers"),
            (["--optimizer=radam", "--convention=keras"], "radam"),
        ] {
            let said = made(&words).expect_err("refused");
            assert!(said.contains(expected), "{said}");
        }
    }
}
