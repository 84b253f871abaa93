"""Films drawn by a program, so that the tutorials run without anyone's data.

They look like a chest to an encoder and to nobody else. What is true of them is known, which makes
them good for learning what a figure means, and useless for learning how good an encoder is.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

ROWS, COLUMNS = 176, 160
NO_FINDING, OPACITY = "No Finding", "Opacity"


def draw_film(generator, *, has_opacity, site="North"):
    """Return one film, rows by columns, 0 (black) to 255.

    An opacity is a soft bright spot in one of the lungs. Films of the site "South" are brighter and
    carry a marker in a corner.
    """
    down, across = np.mgrid[-1.0 : 1.0 : ROWS * 1j, -1.0 : 1.0 : COLUMNS * 1j]
    width, height = generator.uniform(0.24, 0.34), generator.uniform(0.5, 0.7)
    centre = generator.uniform(0.4, 0.5)
    tilt = generator.uniform(-0.12, 0.12)
    film = np.full((ROWS, COLUMNS), 0.75) + generator.uniform(-0.1, 0.1) * down
    for side in (-centre, centre):
        film -= 0.5 * np.exp(-(((across - side - tilt * down) / width) ** 4) - (down / height) ** 4)
    heart = generator.uniform(0.2, 0.32)
    film += 0.3 * np.exp(-(((across - 0.12) / heart) ** 2) - ((down - 0.3) / 0.35) ** 2)
    coarse = generator.uniform(-1.0, 1.0, size=(9, 8)).astype(np.float32)
    film += 0.1 * np.asarray(Image.fromarray(coarse).resize((COLUMNS, ROWS), Image.Resampling.BICUBIC))
    if has_opacity:
        row = generator.uniform(-0.25, 0.35)
        column = generator.choice([-1, 1]) * generator.uniform(0.35, 0.55)
        size = generator.uniform(0.16, 0.26)
        film += 0.5 * np.exp(-((across - column) ** 2 + (down - row) ** 2) / size**2)
    film += generator.normal(scale=0.02, size=film.shape)
    if site == "South":
        film = 0.2 + 0.8 * film
        film[8:22, -26:-10] = 1.0
    return np.rint(np.clip(film, 0.0, 1.0) * 255).astype(np.uint8)


def write_folder(folder, *, n_patients, seed=0, opacity_share=None):
    """Write a folder of films with `metadata.csv`, as the commands read it; two films per patient.

    Parameters
    ----------
    folder
        Made anew.
    n_patients
        How many; each has two films of one site.
    seed
        Decides every pixel.
    opacity_share
        Site to the share of films with an opacity; one half at one site if left out.

    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    shares = opacity_share or {"North": 0.5}
    generator = np.random.default_rng(seed)
    lines = []
    for patient in range(n_patients):
        site = list(shares)[patient % len(shares)]
        sex, age = generator.choice(["F", "M"]), int(generator.integers(20, 90))
        for film in (1, 2):
            has_opacity = bool(generator.random() < shares[site])
            name = f"images/p{patient:03d}-{film}.png"
            Image.fromarray(draw_film(generator, has_opacity=has_opacity, site=site)).save(folder / name)
            lines.append(
                {
                    "file": name,
                    "patient_id": f"p{patient:03d}",
                    "labels": OPACITY if has_opacity else NO_FINDING,
                    "source": site,
                    "sex": sex,
                    "age": age,
                    "view": generator.choice(["PA", "AP"]),
                    "image_licence": "CC0-1.0 (drawn)",
                }
            )
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return folder
