//! Where shapes stand, and the order in which one reads them.

/// A rectangle on a slide, in English Metric Units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    /// Shapes of unknown place come last, in the order of the file.
    pub(super) const UNKNOWN: Self = Self { x: 0.0, y: f64::INFINITY, width: 0.0, height: 0.0 };
}

/// How a group maps the coordinates of its members to those of its parent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapping {
    pub(super) scale: (f64, f64),
    pub(super) shift: (f64, f64),
}

impl Mapping {
    pub(super) const IDENTITY: Self = Self { scale: (1.0, 1.0), shift: (0.0, 0.0) };

    /// The mapping of a group that shows the area `inner` of its own plane at `outer`.
    pub(super) fn between(inner: Area, outer: Area) -> Self {
        let ratio = |to: f64, from: f64| if from > 0.0 { to / from } else { 1.0 };
        let scale = (ratio(outer.width, inner.width), ratio(outer.height, inner.height));
        let shift = (outer.x - inner.x * scale.0, outer.y - inner.y * scale.1);
        Self { scale, shift }
    }

    pub(super) fn apply(self, area: Area) -> Area {
        Area {
            x: area.x * self.scale.0 + self.shift.0,
            y: area.y * self.scale.1 + self.shift.1,
            width: area.width * self.scale.0,
            height: area.height * self.scale.1,
        }
    }
}

/// The positions of areas in reading order: from top to bottom, and from left to right among those
/// that begin beside the upper half of the first one.
pub(super) fn reading_order(areas: &[Area]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..areas.len()).collect();
    order.sort_by(|&a, &b| areas[a].y.total_cmp(&areas[b].y).then(a.cmp(&b)));
    let mut start = 0;
    while start < order.len() {
        let first = areas[order[start]];
        let limit = first.y + first.height / 2.0;
        let beside = order[start..].iter().take_while(|&&it| areas[it].y < limit).count();
        let end = start + beside.max(1);
        order[start..end].sort_by(|&a, &b| areas[a].x.total_cmp(&areas[b].x).then(a.cmp(&b)));
        start = end;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(x: f64, y: f64, width: f64, height: f64) -> Area {
        Area { x, y, width, height }
    }

    #[test]
    fn rows_come_before_columns_and_small_offsets_do_not_matter() {
        let right = area(60.0, 10.0, 40.0, 20.0);
        let left = area(0.0, 12.0, 40.0, 20.0);
        let below = area(0.0, 50.0, 100.0, 20.0);
        assert_eq!(reading_order(&[below, right, left]), [2, 1, 0]);
    }

    #[test]
    fn unknown_places_come_last_in_the_order_of_the_file() {
        assert_eq!(
            reading_order(&[Area::UNKNOWN, area(0.0, 9.0, 1.0, 1.0), Area::UNKNOWN]),
            [1, 0, 2]
        );
    }

    #[test]
    fn members_of_a_group_are_moved_and_scaled() {
        let mapping = Mapping::between(area(0.0, 0.0, 10.0, 10.0), area(100.0, 50.0, 20.0, 5.0));
        assert_eq!(mapping.apply(area(5.0, 10.0, 1.0, 2.0)), area(110.0, 55.0, 2.0, 1.0));
        let empty = Mapping::between(area(0.0, 0.0, 0.0, 0.0), area(1.0, 1.0, 5.0, 5.0));
        assert_eq!(empty.apply(area(2.0, 2.0, 1.0, 1.0)), area(3.0, 3.0, 1.0, 1.0));
    }
}
