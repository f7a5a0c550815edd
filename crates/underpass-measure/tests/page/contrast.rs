//! Text can be read, in the light, in the dark and in print (WCAG 2.1, 1.4.3: 4.5; 1.4.11 for what
//! is drawn: 3).

use std::collections::HashMap;

const STYLE: &str = include_str!("../../src/page/style.css");

#[test]
fn text_and_drawings_stand_out_from_what_lies_behind_them() {
    let modes: Vec<_> = STYLE.split(":root {").skip(1).map(colours).collect();
    assert_eq!(modes.len(), 3, "light, dark, print");
    for mode in modes {
        for behind in [
            "paper",
            "panel",
            "user",
            "kernel",
            "box",
            "warn-ground",
            "bar",
        ] {
            expect(&mode, "ink", behind, 4.5);
        }
        for (front, behind) in [
            ("quiet", "paper"),
            ("quiet", "panel"),
            ("quiet", "user"),
            ("quiet", "kernel"),
            ("link", "paper"),
            ("quiet", "warn-ground"),
        ] {
            expect(&mode, front, behind, 4.5);
        }
        for (front, behind) in [
            ("cpu", "kernel"),
            ("cpu", "user"),
            ("crypto", "kernel"),
            ("crypto", "user"),
            ("crypto", "box"),
            ("crypto", "panel"),
            ("dma", "paper"),
            ("dma", "kernel"),
            ("warn-rule", "paper"),
        ] {
            expect(&mode, front, behind, 3.0);
        }
    }
}

fn expect(mode: &HashMap<&str, u32>, front: &str, behind: &str, least: f64) {
    let (one, other) = (luminance(mode[front]), luminance(mode[behind]));
    let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
    assert!(contrast >= least, "{front} on {behind}: {contrast:.2}");
}

/// `--name: #rrggbb;` up to the end of the block.
fn colours(block: &str) -> HashMap<&str, u32> {
    let block = block.split('}').next().unwrap();
    block
        .split("--")
        .skip(1)
        .map(|variable| {
            let (name, rest) = variable.split_once(": #").unwrap();
            (name, u32::from_str_radix(&rest[..6], 16).unwrap())
        })
        .collect()
}

fn luminance(colour: u32) -> f64 {
    let [_, red, green, blue] = colour.to_be_bytes().map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}
