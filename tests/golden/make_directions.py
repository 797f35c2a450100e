"""Print the golden vectors of the random directions, to be pasted into antiphon/core/golden.py.

    python tests/golden/make_directions.py

They may only change together with the protocol's version: a change makes old clients unusable.
"""

from antiphon.core.golden import NumpyDraws, fingerprints

if __name__ == "__main__":
    print("GOLDEN: Mapping[str, str] = {")
    for name, digest in fingerprints(NumpyDraws()).items():
        print(f'    "{name}": "{digest}",')
    print("}")
