"""Packaging. The distribution is `vfe-pytorch`; it installs the package `mmdet` (the 1.x name)."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name='vfe-pytorch',
    version='3.0.0.dev0',
    description='Video object detection: Faster R-CNN, SELSA, MEGA, RDN, MAMBA, STPN, TDViT, EOVOD',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmdet', 'mmdet.*']),
    package_data={
        'mmdet.programs.analyse': ['*.html'],
        'mmdet.programs.app': ['*.css', '*.html'],
    },
    entry_points={'console_scripts': ['vfe=mmdet.programs.commands.vfe:main']},
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.6',
        'torchvision>=0.21',
        'mmengine-lite>=0.10.7',
        'opencv-python-headless>=5.0.0.93',  # 4 does not turn WebP upright and fills cut images up
        'simplejpeg>=1.8.2',  # tells when pixels of a JPEG are lost
        'faster-coco-eval>=1.6.5',  # earlier ones refuse NumPy 2, which OpenCV 5 asks for
        'scipy>=1.13',
        'av>=17',  # earlier ones decode HD video with the colours of SD
        'numpy>=2',
        'rich>=13',
        'pillow>=10.1',
        'jinja2>=3.1',
        # mmengine-lite imports these two without requiring them
        'packaging',
        'matplotlib>=3.9',
    ],
    extras_require={
        'tensorboard': ['tensorboard'],
        'app': ['gradio>=6.31'],  # the page in the browser, demo/app.py
        'dev': [
            'pytest>=8',
            'pytest-xdist>=3.5',
            'ruff>=0.6',
            'tensorboard',
            'gradio>=6.31',
            'selenium>=4.20',
        ],
    },
)
