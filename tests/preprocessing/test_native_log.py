import subprocess
import sys


def test_import_chatter_is_dropped_and_nothing_else():
    program = (
        "import os, sys\n"
        "from preprocessing.native_log import without_import_chatter\n"
        "with without_import_chatter():\n"
        "    os.write(2, b'E cuda_fft.cc Unable to register cuFFT factory\\n')\n"
        "    print('a fault', file=sys.stderr, flush=True)\n"
        "    os.write(2, b'no newline at the end')\n"
        "print('after', file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert result.stderr == "a fault\nno newline at the endafter\n"


def test_tensorflow_is_imported_in_silence():
    for program in ("import preprocessing.backend", "from serving.server.c_api import library; library()"):
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
