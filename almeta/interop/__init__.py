"""almeta beside other libraries: scikit-activeml, modAL and Stable-Baselines3.

Each module needs its library: `pip install 'almeta[skactiveml]'`, `almeta[modal]`, `almeta[sb3]`.
"""
