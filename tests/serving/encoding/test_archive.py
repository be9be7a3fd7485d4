"""ZIP files are, byte for byte, those that Python's ``zipfile`` writes of the same files."""

import io
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from serving.encoding.archive import archive

NAMES = st.text("abcxyz0123456789-.", min_size=1, max_size=20)


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=5))
def test_it_is_what_zipfile_writes(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as expected:
        for name, data in files.items():
            about = zipfile.ZipInfo(name)
            about.create_system = 3
            about.external_attr = 0o100644 << 16
            expected.writestr(about, data)
    assert archive(files.items()) == buffer.getvalue()


def test_as_many_files_as_one_request_may_ask_for_are_found_in_it():
    files = [(f"{number}.png", b"%d" % number) for number in range(1024)]
    with zipfile.ZipFile(io.BytesIO(archive(files))) as read:
        assert read.testzip() is None
        assert [(name, read.read(name)) for name in read.namelist()] == files
