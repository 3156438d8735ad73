"""Which distribution a module belongs to, where that is known.

Each line was checked against what a published wheel or source distribution installs. A module
that several distributions have with equal right is not here: nothing is guessed.
"""

from __future__ import annotations

from kernels.environments.distributions import normal

#: Modules whose distribution is called otherwise, or that have capitals.
OTHERWISE = {
    "absl": "absl-py",
    "attr": "attrs",
    "barcode": "python-barcode",
    "Bio": "biopython",
    "bs4": "beautifulsoup4",
    "bson": "pymongo",
    "can": "python-can",
    "community": "python-louvain",
    "corsheaders": "django-cors-headers",
    "cpuinfo": "py-cpuinfo",
    "crontab": "python-crontab",
    "Crypto": "pycryptodome",
    "Cryptodome": "pycryptodomex",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "decouple": "python-decouple",
    "discord": "discord.py",
    "dns": "dnspython",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "elftools": "pyelftools",
    "engineio": "python-engineio",
    "faiss": "faiss-cpu",
    "ffmpeg": "ffmpeg-python",
    "fitz": "PyMuPDF",
    "git": "GitPython",
    "github": "PyGithub",
    "gitlab": "python-gitlab",
    "googleapiclient": "google-api-python-client",
    "gridfs": "pymongo",
    "grpc": "grpcio",
    "grpc_tools": "grpcio-tools",
    "imblearn": "imbalanced-learn",
    "jenkins": "python-jenkins",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "Levenshtein": "Levenshtein",
    "magic": "python-magic",
    "memcache": "python-memcached",
    "mpl_toolkits": "matplotlib",
    "nacl": "PyNaCl",
    "nats": "nats-py",
    "netCDF4": "netCDF4",
    "nmap": "python-nmap",
    "odf": "odfpy",
    "OpenGL": "PyOpenGL",
    "OpenSSL": "pyOpenSSL",
    "past": "future",
    "pdfminer": "pdfminer.six",
    "PIL": "pillow",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pylab": "matplotlib",
    "pythonjsonlogger": "python-json-logger",
    "pywt": "PyWavelets",
    "pyximport": "Cython",
    "rapidjson": "python-rapidjson",
    "readability": "readability-lxml",
    "rest_framework": "djangorestframework",
    "serial": "pyserial",
    "shapefile": "pyshp",
    "skbio": "scikit-bio",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skopt": "scikit-optimize",
    "slugify": "python-slugify",
    "socketio": "python-socketio",
    "socks": "PySocks",
    "speech_recognition": "SpeechRecognition",
    "stl": "numpy-stl",
    "tabula": "tabula-py",
    "telegram": "python-telegram-bot",
    "tlz": "toolz",
    "umap": "umap-learn",
    "usb": "pyusb",
    "vlc": "python-vlc",
    "websocket": "websocket-client",
    "whisper": "openai-whisper",
    "win32com": "pywin32",
    "wx": "wxPython",
    "Xlib": "python-xlib",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
#: Distributions whose module is called as they are.
_ALIKE = [
    "aiohttp", "altair", "astropy", "bokeh", "boto3", "CairoSVG", "click", "cryptography", "dask",
    "duckdb", "ephem", "fastapi", "Flask", "folium", "gensim", "geopandas", "h5py", "httpx",
    "hypothesis", "igraph", "imageio", "implicit", "jax", "Jinja2", "keras", "ldap3", "librosa",
    "lightgbm", "lxml", "lz4", "Markdown", "matplotlib", "mlxtend", "networkx", "nltk", "numba",
    "numpy", "openpyxl", "opt-einsum", "pandas", "paramiko", "playwright", "plotly", "polars",
    "psutil", "pyarrow", "pydantic", "pygame", "pyglet", "pymongo", "PyMuPDF", "PyMySQL", "pypdf",
    "pytest", "redis", "reportlab", "requests", "rich", "scipy", "Scrapy", "seaborn", "selenium",
    "shapely", "soundfile", "spacy", "SQLAlchemy", "statsmodels", "sympy", "tabulate",
    "tkcalendar", "toolz", "torch", "torchvision", "tqdm", "transformers", "typer", "Unidecode",
    "xarray", "xgboost", "XlsxWriter",
]  # fmt: skip
_KNOWN = {**{normal(name).replace("-", "_"): name for name in _ALIKE}, **OTHERWISE}

#: Modules that some Python 3 has, and newer ones have no more: no distribution brings them back.
FORMER = frozenset(
    {
        "aifc", "asynchat", "asyncore", "audioop", "binhex", "cgi", "cgitb", "chunk", "crypt",
        "distutils", "dummy_threading", "formatter", "imghdr", "imp", "lib2to3", "macpath",
        "macurl2path", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "parser", "pipes",
        "smtpd", "sndhdr", "spwd", "sunau", "symbol", "telnetlib", "uu", "xdrlib",
    }
)  # fmt: skip


def distribution_of(module: str) -> str:
    """The distribution that has this top-level module, or ""."""
    return _KNOWN.get(module, "")
