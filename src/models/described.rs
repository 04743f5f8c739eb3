//! Networks by a line of text, as [`Network::describe`](super::Network::describe) says them.

use crate::ops::nn::Curve;

use super::{DecoderSizes, Layer, Mlp, ModelError, Sequential, cnn, decoder, mobilenet};

/// The network that `text` describes, for samples of `sample_shape` and `n_classes` classes: `mlp 784-32-10` with
/// all extents or `mlp 32-16` with the hidden ones, both with relu; `cnn`; `mobilenet`, or `mobilenet 0.5` with a
/// factor of its channels; `decoder` or `decoder 4-128-4-2-352` with blocks, width, heads, heads of keys and values
/// and hidden extent. The number of classes may follow, as networks describe themselves.
///
/// # Errors
/// [`ModelError::Description`] for other texts and for extents that are not those of the data, and what the
/// networks refuse.
pub fn described(
    text: &str,
    sample_shape: &[usize],
    n_classes: usize,
) -> Result<Sequential, ModelError> {
    let refuse = |reason: String| ModelError::Description {
        description: text.to_owned(),
        reason,
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["mlp"] => Ok(Mlp::new(sample_shape, &[], n_classes, Curve::Relu)?.into()),
        ["mlp", extents] => {
            let sizes: Result<Vec<usize>, _> = extents.split('-').map(str::parse).collect();
            let sizes =
                sizes.map_err(|_| refuse("extents are numbers with - between".to_owned()))?;
            let inputs: usize = sample_shape.iter().product();
            let hidden = match &sizes[..] {
                [first, hidden @ .., last] if [*first, *last] == [inputs, n_classes] => hidden,
                [first, .., last] if *first == inputs || *last == n_classes => {
                    return Err(refuse(format!(
                        "the data have {inputs} features and {n_classes} classes"
                    )));
                }
                hidden => hidden,
            };
            Ok(Mlp::new(sample_shape, hidden, n_classes, Curve::Relu)?.into())
        }
        ["cnn", classes] | ["mobilenet", _, classes] if classes != n_classes.to_string() => {
            Err(refuse(format!("the data have {n_classes} classes")))
        }
        ["cnn"] | ["cnn", _] => cnn(sample_shape, n_classes),
        ["mobilenet"] => mobilenet(sample_shape, n_classes, 1.0),
        ["mobilenet", width] | ["mobilenet", width, _] => {
            let width = width.parse();
            let width = width.map_err(|_| refuse("the factor is a number".to_owned()))?;
            mobilenet(sample_shape, n_classes, width)
        }
        ["decoder"] | ["decoder", _] | ["decoder", _, _] => {
            let sizes = match words.get(1) {
                None => DecoderSizes::default(),
                Some(sizes) => DecoderSizes::parse(sizes).ok_or_else(|| {
                    refuse("sizes are blocks-width-heads-kv heads-hidden, numbers".to_owned())
                })?,
            };
            match (sample_shape, words.get(2)) {
                (_, Some(&vocabulary)) if vocabulary != n_classes.to_string() => {
                    Err(refuse(format!("the data have {n_classes} tokens")))
                }
                (&[length], _) => decoder(length, n_classes, sizes),
                _ => Err(refuse("it takes windows of a text".to_owned())),
            }
        }
        ["mlp" | "cnn" | "mobilenet" | "decoder", ..] => {
            Err(refuse("it has too many words".to_owned()))
        }
        [other, ..] => Err(refuse(format!("there is no kind `{other}`"))),
        [] => Err(refuse("it is empty".to_owned())),
    }
}

impl Sequential {
    /// Behind which layer hints are taken unless someone says otherwise: the one before the last with tensors.
    pub fn last_hidden(&self) -> Option<usize> {
        let has_tensors = |layer: &Layer| {
            matches!(
                layer,
                Layer::Linear { .. } | Layer::Conv2d { .. } | Layer::BatchNorm { .. }
            )
        };
        self.layers().iter().rposition(has_tensors)?.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network as _;

    #[test]
    fn descriptions_make_the_networks_that_they_describe() {
        for (text, full) in [
            ("mlp 784-32-10", "mlp 784-32-10"),
            ("mlp 32", "mlp 784-32-10"),
            ("mlp 32-16", "mlp 784-32-16-10"),
            ("mlp", "mlp 784-10"),
            ("cnn 10", "cnn 10"),
            ("mobilenet 0.25", "mobilenet 0.25 10"),
            ("mobilenet 0.25 10", "mobilenet 0.25 10"),
        ] {
            let made = described(text, &[1, 28, 28], 10).expect("fits");
            assert_eq!(made.describe(), full);
        }
        let wide = described("mobilenet", &[1, 28, 28], 10).expect("fits");
        let narrow = described("mobilenet 0.25", &[1, 28, 28], 10).expect("fits");
        assert!(narrow.tensors().len() == wide.tensors().len() && narrow != wide);
    }

    #[test]
    fn descriptions_of_other_data_are_refused_with_the_reason() {
        for (text, reason) in [
            ("mlp 100-32-10", "784 features"),
            ("mlp 784-32-7", "10 classes"),
            ("mlp 3x2", "numbers"),
            ("mlp 32 16", "too many"),
            ("cnn 9", "10 classes"),
            ("mobilenet 1 9", "10 classes"),
            ("vgg", "no kind `vgg`"),
            ("", "empty"),
            ("mobilenet x", "number"),
        ] {
            let refused = described(text, &[1, 28, 28], 10).expect_err(text);
            assert!(refused.to_string().contains(reason), "{refused}");
        }
    }

    #[test]
    fn the_last_hidden_layer_is_the_one_before_the_logits() {
        let mlp = described("mlp 32", &[784], 10).expect("fits");
        assert_eq!(mlp.last_hidden(), Some(2));
        assert_eq!(mlp.shape_behind(2), Some(&[32][..]));
        let until = mlp.until(2).expect("there");
        assert_eq!((until.n_classes(), until.tensors().len()), (32, 2));
        assert!(mlp.until(4).is_err());
    }
}
