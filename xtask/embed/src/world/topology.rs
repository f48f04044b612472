//! `TopoJSON` as far as world-atlas uses it: borders as arcs, which neighbours share. Reads; draws nothing.

use anyhow::bail;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Topology {
    pub(super) transform: Transform,
    pub(super) objects: Objects,
    /// Each a way of points, the first as it is, each further one as its distance from the one before.
    pub(super) arcs: Vec<Vec<[i64; 2]>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Transform {
    pub(super) scale: [f64; 2],
    pub(super) translate: [f64; 2],
}

#[derive(Debug, Deserialize)]
pub(super) struct Objects {
    pub(super) countries: Countries,
}

#[derive(Debug, Deserialize)]
pub(super) struct Countries {
    pub(super) geometries: Vec<Geometry>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Geometry {
    r#type: String,
    #[serde(default)]
    arcs: serde_json::Value,
    /// ISO 3166-1 numeric.
    pub(super) id: Option<String>,
    pub(super) properties: Properties,
}

#[derive(Debug, Deserialize)]
pub(super) struct Properties {
    pub(super) name: String,
}

impl Geometry {
    /// Each ring as its arcs; `!n` is arc `n` the other way round.
    pub(super) fn rings(&self) -> anyhow::Result<Vec<Vec<i64>>> {
        let arcs = self.arcs.clone();
        Ok(match self.r#type.as_str() {
            "Polygon" => serde_json::from_value(arcs)?,
            "MultiPolygon" => {
                let polygons: Vec<Vec<Vec<i64>>> = serde_json::from_value(arcs)?;
                polygons.into_iter().flatten().collect()
            }
            other => bail!("a {other} is no country"),
        })
    }
}

impl Topology {
    /// An arc in degrees: longitude and latitude.
    pub(super) fn degrees(&self, arc: &[[i64; 2]]) -> Vec<[f64; 2]> {
        let Transform { scale, translate } = &self.transform;
        let mut at = [0_i64; 2];
        let points = arc.iter().map(|step| {
            at = [at[0] + step[0], at[1] + step[1]];
            [at[0] as f64 * scale[0] + translate[0], at[1] as f64 * scale[1] + translate[1]]
        });
        points.collect()
    }
}
