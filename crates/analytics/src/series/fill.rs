//! Filling missing elements. What counts as missing is decided by the caller, who passes `None` for it.

use super::Series;

/// Takes the last element that is there; what comes before the first stays missing.
pub fn fill_forward(series: Series) -> Vec<Option<f64>> {
    let mut last = None;
    series
        .iter()
        .map(|value| {
            last = value.or(last);
            last
        })
        .collect()
}

/// Takes the next element that is there; what comes after the last stays missing.
pub fn fill_backward(series: Series) -> Vec<Option<f64>> {
    let mut filled: Vec<_> = series.to_vec();
    let mut next = None;
    for value in filled.iter_mut().rev() {
        next = value.or(next);
        *value = next;
    }
    filled
}

/// Takes one value for everything that is missing.
pub fn fill_const(series: Series, constant: f64) -> Vec<Option<f64>> {
    series.iter().map(|value| value.or(Some(constant))).collect()
}

/// Draws a line between the neighbours that are there. With `edges` the ends take their nearest neighbour. A series
/// without any element is filled with `constant`.
pub fn fill_linear(series: Series, edges: bool, constant: f64) -> Vec<Option<f64>> {
    let known: Vec<usize> = (0..series.len()).filter(|&at| series[at].is_some()).collect();
    let (Some(&first), Some(&last)) = (known.first(), known.last()) else {
        return vec![Some(constant); series.len()];
    };
    let mut filled = series.to_vec();
    for pair in known.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (Some(low), Some(high)) = (series[from], series[to]) else { continue };
        let step = (high - low) / (to - from) as f64;
        for (steps, value) in filled[from + 1..to].iter_mut().enumerate() {
            *value = Some(low + step * (steps + 1) as f64);
        }
    }
    if edges {
        let (head, tail) = (series[first], series[last]);
        filled[..first].fill(head);
        filled[last + 1..].fill(tail);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLES: [Option<f64>; 7] = [None, Some(1.0), None, None, Some(4.0), Some(2.0), None];

    #[test]
    fn a_line_is_drawn_between_neighbours_and_the_edges_are_a_choice() {
        let inner = [None, Some(1.0), Some(2.0), Some(3.0), Some(4.0), Some(2.0), None];
        assert_eq!(fill_linear(&HOLES, false, 0.0), inner);
        let whole = [1.0, 1.0, 2.0, 3.0, 4.0, 2.0, 2.0].map(Some);
        assert_eq!(fill_linear(&HOLES, true, 0.0), whole);
        assert_eq!(fill_linear(&[None, None], true, 7.0), [Some(7.0), Some(7.0)]);
        assert_eq!(fill_linear(&[], true, 7.0), []);
    }

    #[test]
    fn forward_and_backward_leave_what_has_no_neighbour() {
        assert_eq!(fill_forward(&HOLES)[0], None);
        assert_eq!(fill_forward(&HOLES)[6], Some(2.0));
        assert_eq!(fill_backward(&HOLES)[0], Some(1.0));
        assert_eq!(fill_backward(&HOLES)[6], None);
        assert_eq!(fill_const(&HOLES, 9.0)[3], Some(9.0));
    }
}
