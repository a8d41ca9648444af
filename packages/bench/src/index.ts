export { type Figure, type Goal, judge, plainFigure, ratioFigure } from './core/figure.ts';
export { type Estimate, estimate, median, quantile } from './core/statistics.ts';
